//! The settings of each provider, `[providers.NAME]`: a part of the table in [`schema`](super::schema).

use super::schema::{
    Kind::{Choice, Flag, List, Secret, Text},
    Setting, setting,
};

pub(super) const PROVIDER_SETTINGS: &[Setting] = &[
    setting(
        "providers.NAME.preset",
        Choice(&[
            "google",
            "github",
            "microsoft",
            "apple",
            "gitlab",
            "discord",
            "facebook",
            "openid",
            "oauth2",
        ]),
        "",
        "What kind of provider it is, see [providers.md](providers.md). Empty: what `NAME` says, as in `[providers.google]`.",
    ),
    setting("providers.NAME.label", Text, "", "What buttons call it. Empty: the preset's name for it."),
    setting(
        "providers.NAME.client_id",
        Text,
        "",
        "What the provider calls this service; it says so when you register there.",
    ),
    setting("providers.NAME.client_secret", Secret, "", "The secret that the provider gave out with it."),
    setting(
        "providers.NAME.client_auth",
        Choice(&["auto", "basic", "post", "none"]),
        "auto",
        "How the secret travels: `auto` as the provider's metadata says, `basic` in a header, `post` in the form, `none` for a public client.",
    ),
    setting(
        "providers.NAME.issuer",
        Text,
        "",
        "`openid`: the issuer, exactly as the provider writes it. `github`, `gitlab`: the address of your own server. `oauth2`: keys accounts; empty: the origin of `authorize_url`.",
    ),
    setting(
        "providers.NAME.tenant",
        Text,
        "common",
        "`microsoft`: `common`, `organizations`, `consumers`, or the id of your tenant.",
    ),
    setting("providers.NAME.team_id", Text, "", "`apple`: the team's id."),
    setting("providers.NAME.key_id", Text, "", "`apple`: the key's id."),
    setting("providers.NAME.private_key", Secret, "", "`apple`: the text of the file `AuthKey_….p8`."),
    setting("providers.NAME.authorize_url", Text, "", "`oauth2`: where people go to sign in."),
    setting("providers.NAME.token_url", Text, "", "`oauth2`: where codes become tokens."),
    setting("providers.NAME.userinfo_url", Text, "", "`oauth2`: where the profile stands."),
    setting(
        "providers.NAME.subject_field",
        Text,
        "",
        "`oauth2`: where in the profile the id stands that never changes; dots lead deeper, as in `data.id`. Empty: `sub`.",
    ),
    setting("providers.NAME.email_field", Text, "", "The same for the e-mail address. Empty: `email`."),
    setting(
        "providers.NAME.email_verified_field",
        Text,
        "",
        "The same for whether the provider has verified it. Empty: `email_verified`.",
    ),
    setting("providers.NAME.name_field", Text, "", "The same for the person's name. Empty: `name`."),
    setting("providers.NAME.scopes", List, "", "What is asked for. Empty: as little as the preset needs."),
    setting(
        "providers.NAME.parameters",
        List,
        "",
        "Further parameters of the authorization request, such as `access_type=offline`.",
    ),
    setting(
        "providers.NAME.trust_email",
        Flag,
        "false",
        "Count every address it tells as verified. For a provider of your own organisation only: whoever can set an address there can take over the account with that address here.",
    ),
    setting(
        "providers.NAME.allowed_domains",
        List,
        "",
        "Accept verified addresses of these domains only. Empty: all addresses.",
    ),
    setting(
        "providers.NAME.sign_up",
        Flag,
        "true",
        "Whether people without an account get one; `registration.open` must be true too.",
    ),
    setting(
        "providers.NAME.remember",
        Flag,
        "false",
        "Keep people signed in when the browser is closed, for `session.remember_for`.",
    ),
    setting(
        "providers.NAME.keep_tokens",
        Flag,
        "false",
        "Keep the provider's tokens, encrypted with the signing secrets, for `hallpass user token`.",
    ),
    setting(
        "providers.NAME.end_session",
        Flag,
        "false",
        "Whoever signs out here is signed out there too, if the provider can do that.",
    ),
];
