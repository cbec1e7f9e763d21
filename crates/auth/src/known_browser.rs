//! Browsers that an account knows, and what happens when too many sign-ins fail in a row.

use hallpass_session::{Session, Timestamp};

use crate::{
    Auth, Error, Origin, Requester, User,
    device::{Device, SentDevices},
    throttle::account_key,
};

impl Auth {
    /// The device cookie of this account that the request brings. Whether it still counts, the account decides.
    pub(crate) fn device(&self, account: &str, origin: &Origin, now: Timestamp) -> Option<Device> {
        self.options().device_cookies.as_ref()?.find(&origin.devices, account, now)
    }

    /// Whether a device cookie is of the account as it is now: not from before a change of password, nor of a former account of this login.
    pub(crate) fn is_current(&self, device: &Device, account: &str, user: Option<&User>) -> bool {
        let cookies = self.options().device_cookies.as_ref();
        let user = user.filter(|user| !user.disabled);
        cookies
            .zip(user)
            .is_some_and(|(cookies, user)| cookies.is_current(device, account, user.session_epoch))
    }

    /// The browser that this session's response goes to is known to the user's account from now on.
    pub(crate) fn remember_browser(&self, session: &Session, user: &User, sent: &SentDevices) {
        let Some(cookies) = &self.options().device_cookies else { return };
        let account = account_key(user.email.as_str());
        for cookie in cookies.issue(sent, &account, user.session_epoch, session.now()) {
            session.append_cookie(cookie);
        }
    }

    /// No other browser is known to the user's account any more.
    pub(crate) async fn forget_other_browsers(&self, session: &Session, user: &User) -> Result<(), Error> {
        if self.options().device_cookies.is_some() {
            let account = account_key(user.email.as_str());
            self.inner().throttle.void_devices(&account, &user.id, session.now()).await?;
            self.remember_browser(session, user, &SentDevices::default());
        }
        Ok(())
    }

    /// Somebody has signed in without a password: failed sign-ins in a row are forgotten, and the address is known. That it cannot be noted
    /// keeps nobody out.
    pub(crate) async fn note_sign_in(&self, user: &User, origin: &Origin, now: Timestamp) {
        let account = account_key(user.email.as_str());
        if let Err(error) = self.inner().throttle.note_sign_in(&account, origin.addr, &user.id, now).await {
            tracing::warn!(event = "sign_in_not_noted", user = %user.id, %error);
        }
    }

    /// Lets a user sign in again after too many failed sign-ins in a row
    /// ([`max_failures`](crate::ThrottleOptions::max_failures)): all counts of the account begin anew. How many had failed in a row.
    ///
    /// # Errors
    /// The record store failed.
    pub async fn unlock(&self, user: &User, now: Timestamp) -> Result<u32, Error> {
        let failures = self.inner().throttle.unlock(&account_key(user.email.as_str()), now).await?;
        tracing::info!(event = "user_unlocked", user = %user.id, failures);
        Ok(failures)
    }

    /// A keyed hash of what was typed as a login, for the log.
    pub(crate) fn login_hash(&self, account: &str) -> String {
        self.inner().log_key.hash(account)
    }
}

/// Who waits in the queue of hashes: a known browser, or an address.
pub(crate) fn requester(device: Option<&Device>, origin: &Origin) -> Requester {
    match device {
        Some(device) => Requester::known(origin.addr, device.number()),
        None => Requester::address(origin.addr),
    }
}
