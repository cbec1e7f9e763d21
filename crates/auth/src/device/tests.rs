use super::*;

const OLD: &str = "an-old-secret-of-at-least-32-bytes";
const NEW: &str = "a-new-secret-of-at-least-32-bytes!";
const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
const DAY: i64 = 24 * 3600 * 1000;

fn cookies(secrets: &[&str]) -> DeviceCookies {
    DeviceCookies::new(secrets).unwrap()
}

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

/// A browser that takes these cookies.
#[derive(Default)]
struct Browser(Vec<(String, String)>);

impl Browser {
    fn take(&mut self, set: &[HeaderValue]) {
        for cookie in set {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            self.0.retain(|(present, _)| present != name);
            if !text.contains("Max-Age=0;") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn sent(&self) -> SentDevices {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            headers.append(COOKIE, format!("other=1; {name}={value}").parse().unwrap());
        }
        SentDevices::of(&headers)
    }
}

fn browser_of(cookies: &DeviceCookies, account: &str) -> Browser {
    let mut browser = Browser::default();
    browser.take(&cookies.issue(&browser.sent(), account, 7, NOW));
    browser
}

#[test]
fn a_device_cookie_is_of_one_account_and_one_epoch() {
    let cookies = cookies(&[NEW]);
    let browser = browser_of(&cookies, "ann");
    let device = cookies.find(&browser.sent(), "ann", NOW).unwrap();
    assert!(cookies.is_current(&device, "ann", 7));
    assert!(!cookies.is_current(&device, "ann", 8), "the password has changed");
    assert!(!cookies.is_current(&device, "bob", 7));
    assert!(cookies.find(&browser.sent(), "bob", NOW).is_none());
}

#[test]
fn another_accounts_cookie_under_this_accounts_name_is_refused() {
    let cookies = cookies(&[NEW]);
    let (ann, eve) = (browser_of(&cookies, "ann"), browser_of(&cookies, "eve"));
    let renamed = Browser(vec![(ann.0[0].0.clone(), eve.0[0].1.clone())]);
    assert!(cookies.find(&renamed.sent(), "ann", NOW).is_none());
    // In front of the right one it does not hide it.
    let both = Browser(vec![renamed.0[0].clone(), ann.0[0].clone()]);
    assert!(cookies.find(&both.sent(), "ann", NOW).is_some());
}

#[test]
fn any_changed_byte_is_refused() {
    let cookies = cookies(&[NEW]);
    let browser = browser_of(&cookies, "ann");
    let (name, value) = browser.0[0].clone();
    let right = decode(&value).unwrap();
    for at in 0..LENGTH {
        let mut bytes = right;
        bytes[at] ^= 1;
        let forged = Browser(vec![(name.clone(), URL_SAFE_NO_PAD.encode(bytes))]);
        assert!(cookies.find(&forged.sent(), "ann", NOW).is_none(), "byte {at}");
    }
}

#[test]
fn it_ends_after_400_days_and_does_not_begin_in_the_future() {
    let cookies = cookies(&[NEW]);
    let sent = browser_of(&cookies, "ann").sent();
    for (millis, lives) in
        [(0, true), (400 * DAY - 1, true), (400 * DAY, false), (-60_000, true), (-60_001, false)]
    {
        assert_eq!(cookies.find(&sent, "ann", later(millis)).is_some(), lives, "{millis}");
    }
}

#[test]
fn secrets_rotate() {
    let (old, both, new) = (cookies(&[OLD]), cookies(&[NEW, OLD]), cookies(&[NEW]));
    let mut browser = browser_of(&old, "ann");
    let device = both.find(&browser.sent(), "ann", NOW).unwrap();
    assert!(both.is_current(&device, "ann", 7));
    assert!(new.find(&browser.sent(), "ann", NOW).is_none());
    browser.take(&both.issue(&browser.sent(), "ann", 7, NOW));
    assert_eq!(browser.0.len(), 1, "the old key's cookie is gone");
    assert!(new.find(&browser.sent(), "ann", NOW).is_some());
}

#[test]
fn session_cookies_and_device_cookies_have_different_keys() {
    let cookies = cookies(&[NEW]);
    let browser = browser_of(&cookies, "ann");
    let keys = hallpass_session::Keys::from_secret(NEW).unwrap();
    assert_eq!(keys.verify(&browser.0[0].1), None);
    assert_ne!(mac(&keyed(NEW.as_bytes()), &[b"x"]), mac(&derive(NEW.as_bytes()), &[b"x"]));
}

/// RFC 5869, appendix A.1 has another length of output; its first block is this.
#[test]
fn keys_are_derived_as_the_standard_has_it() {
    let salt: Vec<u8> = (0..=0x0c).collect();
    let extracted = mac_of(&keyed(&salt), &[&[0x0b; 22]]);
    assert_eq!(hex(&extracted), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let expanded = mac_of(&keyed(&extracted), &[&info, &[1]]);
    assert_eq!(hex(&expanded), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

#[test]
fn the_cookie_is_lax_http_only_long_lived_and_the_hosts_own() {
    let set = |cookies: DeviceCookies| {
        let set = cookies.issue(&SentDevices::default(), "ann@example.com", 7, NOW);
        assert_eq!(set.len(), 1);
        set[0].to_str().unwrap().to_owned()
    };
    let secure = set(cookies(&[NEW]));
    assert!(secure.starts_with("__Host-hallpass-device-") && secure.len() < 200, "{secure}");
    assert!(secure.ends_with("; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax; Secure"), "{secure}");
    assert!(!secure.contains("ann"));
    let plain = set(cookies(&[NEW]).insecure().cross_site());
    assert!(plain.starts_with("hallpass-device-") && plain.ends_with("; HttpOnly; SameSite=Lax"), "{plain}");
    let cross = set(cookies(&[NEW]).cross_site());
    assert!(cross.ends_with("; SameSite=None; Secure"), "{cross}");
}

#[test]
fn a_browser_has_several_accounts_and_the_oldest_make_room() {
    let cookies = cookies(&[NEW]);
    let mut browser = Browser::default();
    for number in 0..12 {
        let account = format!("account {number}");
        browser.take(&cookies.issue(&browser.sent(), &account, 0, later(number * 1000)));
    }
    assert_eq!(browser.0.len(), MAX_ACCOUNTS);
    for (number, known) in [(3, false), (4, true), (11, true)] {
        let found = cookies.find(&browser.sent(), &format!("account {number}"), later(60_000));
        assert_eq!(found.is_some(), known, "{number}");
    }
}

#[test]
fn every_sign_in_gets_another_id() {
    let cookies = cookies(&[NEW]);
    let id = || cookies.find(&browser_of(&cookies, "ann").sent(), "ann", NOW).unwrap().hash();
    assert_ne!(id(), id());
}

#[test]
fn short_and_missing_secrets_are_refused() {
    assert_eq!(DeviceCookies::new(["short"]).unwrap_err(), KeysError::Short { position: 1, length: 5 });
    assert_eq!(DeviceCookies::new([""; 0]).unwrap_err(), KeysError::Missing);
    assert!(!format!("{:?}", cookies(&[NEW])).contains(NEW));
}
