//! Ending one's own sessions: with a session of any age, on the page and in the API alike. SECURITY.md says why.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{Client, server_with};
use serde_json::json;

#[test]
fn ending_ones_own_sessions_needs_no_fresh_sign_in() {
    let server = server_with(
        "[session]\ncache_size = 0\n[providers.github]\nclient_id = \"x\"\nclient_secret = \"a secret of the client\"\n",
    );
    let mut ann = server.registered("ann");
    let mut others: Vec<Client> = (0..3).map(|_| server.signed_in("ann")).collect();
    let handle = |client: &mut Client| {
        let listed = client.get("/auth/sessions").json();
        let all = listed["sessions"].as_array().unwrap().clone();
        let own = all.into_iter().find(|session| session["current"] == true).unwrap();
        own["handle"].as_str().unwrap().to_owned()
    };
    let (one, two) = (handle(&mut others[0]), handle(&mut others[1]));
    let database = rusqlite::Connection::open(server.folder.path().join("hallpass.db")).unwrap();
    database.execute("update sessions set authenticated = authenticated - 7200000", ()).unwrap();
    let link = ann.post("/auth/oauth/github/link", &json!({}));
    assert_eq!((link.status, link.code().as_str()), (403, "reauth_required"), "two hours are not fresh");

    assert_eq!(ann.delete(&format!("/auth/sessions/{one}")).status, 200);
    assert!(!others[0].is_signed_in());
    let mut page = ann.clone().in_browser();
    assert_eq!(
        page.form(&format!("/auth/sessions/{two}/end"), &[]).header("location"),
        "/account?done=ended"
    );
    assert!(!others[1].is_signed_in());
    assert_eq!(page.form("/auth/sessions/end", &[]).header("location"), "/account?done=others");
    assert!(!others[2].is_signed_in() && ann.is_signed_in());
    drop(server.signed_in("ann"));
    assert_eq!(ann.delete("/auth/sessions").json()["ended"], 1);
    let mut bob = server.registered("bob");
    let of_bob = handle(&mut bob);
    assert_eq!(ann.delete(&format!("/auth/sessions/{of_bob}")).status, 404, "nobody else's");
    assert!(bob.is_signed_in());
}
