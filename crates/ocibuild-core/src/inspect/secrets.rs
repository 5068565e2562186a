//! Secrets that are known by their form: private keys, and tokens that begin with the name of who
//! gave them out.
//!
//! Each has an anchor, a word that hardly anything else has, for which all bytes are searched at once;
//! what stands around it decides. What only looks like a secret to a measure of randomness is not
//! looked for: such findings are wrong too often to be read.

use serde::{Deserialize, Serialize};

/// A secret that was found. Its value is nowhere in it but for the first four characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Hit {
    /// Which secret, by its id.
    pub id: String,
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// The line that it is in, from 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// How it begins, where that says anything.
    pub begin: String,
}

impl Hit {
    /// The ids of what is one in files of certain names alone.
    pub(super) const NETRC: &'static str = "secret-netrc-password";
    pub(super) const PYPIRC: &'static str = "secret-pypirc-password";
    pub(super) const GIT: &'static str = "secret-git-password";

    /// Tells whether it is one in a file that is there in an image.
    #[must_use]
    pub fn is_at(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        match &*self.id {
            Self::NETRC => matches!(name, b".netrc" | b"_netrc"),
            Self::PYPIRC => name == b".pypirc",
            Self::GIT => name == b".git-credentials" || path.ends_with(b"/git/credentials"),
            _ => true,
        }
    }
}

/// A kind of secret.
#[derive(Debug)]
#[non_exhaustive]
pub struct Secret {
    /// Its id, `secret-…`.
    pub id: &'static str,
    /// What it is, as a phrase that follows "there is".
    pub title: &'static str,
    pub(super) anchor: &'static str,
    pub(super) form: Form,
}

/// What has to stand around an anchor.
#[derive(Debug)]
pub(super) enum Form {
    /// So many characters of a kind behind it, neither more nor fewer, and none of a name before.
    Token(Kind, usize, usize),
    /// The same, wherever in a word the anchor is.
    Inner(Kind, usize, usize),
    /// The same, behind the anchor's first character, as the rest alone would be short.
    After(Kind, usize, usize),
    /// Digits before, as many characters behind.
    Numbered(Kind, usize, usize),
    /// A value behind `=` or `:`, in quotes or not.
    Value(Kind, usize, usize),
    /// A key in PEM: the label goes on to its dashes, and base64 follows.
    Pem,
    /// Base64 of a user and a password.
    Login,
    /// None: files that begin as one are looked at by themselves.
    Named,
}

/// The characters that a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters and digits.
    Word,
    /// Lower-case hexadecimal digits.
    Hex,
    /// Capitals and digits.
    Upper,
    /// Letters, digits, `_` and `-`.
    Url,
    /// Letters, digits, `_`, `-` and `.`.
    Dotted,
    /// Those of base64.
    Base64,
    /// Those of a path in a URL.
    Path,
}

impl Kind {
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Self::Word => byte.is_ascii_alphanumeric(),
            Self::Hex => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Path => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/'),
        }
    }
}

use Form::{After, Inner, Login, Named, Numbered, Pem, Token, Value};
use Kind::{Base64, Dotted, Hex, Path, Upper, Url, Word};

const fn secret(id: &'static str, title: &'static str, anchor: &'static str, form: Form) -> Secret {
    Secret { id, title, anchor, form }
}

const AWS: &str = "an access key of AWS";
const GITHUB: &str = "a token of GitHub";
const SLACK: &str = "a token of Slack";
const STRIPE: &str = "a live key of Stripe";
const SHOPIFY: &str = "a token of Shopify";
const SQUARE: &str = "a token of Square";

const NPM_LOGIN: &str = "a login of a registry of npm";

/// All that are looked for. Of several with one id the first says its title.
pub(super) const SECRETS: [Secret; 67] = [
    secret("secret-private-key", "a private key", "PRIVATE KEY", Pem),
    secret("secret-putty-key", "a private key of PuTTY", "PuTTY-User-Key-File-", Token(Word, 1, 1)),
    secret("secret-age-key", "a private key of age", "AGE-SECRET-KEY-1", Token(Upper, 58, 58)),
    secret(
        "secret-kubeconfig-key",
        "a private key in a kubeconfig",
        "client-key-data",
        Value(Base64, 100, 8192),
    ),
    secret("secret-aws-access-key", AWS, "AKIA", Token(Upper, 16, 16)),
    secret("secret-aws-access-key", AWS, "ASIA", Token(Upper, 16, 16)),
    secret("secret-aws-secret-key", "a secret key of AWS", "aws_secret_access_key", Value(Base64, 40, 40)),
    secret("secret-aws-secret-key", "a secret key of AWS", "AWS_SECRET_ACCESS_KEY", Value(Base64, 40, 40)),
    secret("secret-aws-secret-key", "a secret key of AWS", "ecretAccessKey", Value(Base64, 40, 40)),
    secret("secret-gcp-api-key", "an API key of Google", "AIzaSy", Token(Url, 33, 33)),
    secret("secret-google-oauth", "a client secret of Google", "GOCSPX-", Token(Url, 28, 28)),
    secret("secret-azure-storage-key", "a storage key of Azure", "AccountKey", Value(Base64, 88, 88)),
    secret("secret-github-token", GITHUB, "ghp_", Token(Word, 36, 36)),
    secret("secret-github-token", GITHUB, "gho_", Token(Word, 36, 36)),
    secret("secret-github-token", GITHUB, "ghu_", Token(Word, 36, 36)),
    secret("secret-github-token", GITHUB, "ghs_", Token(Word, 36, 36)),
    secret("secret-github-token", GITHUB, "ghr_", Token(Word, 36, 76)),
    secret("secret-github-token", GITHUB, "github_pat_", Token(Url, 82, 82)),
    secret("secret-gitlab-token", "a token of GitLab", "glpat-", Token(Dotted, 20, 64)),
    secret("secret-npm-token", "a token of npm", "npm_", Token(Word, 36, 36)),
    secret("secret-npm-token", "a token of npm", "_authToken", Value(Url, 20, 256)),
    secret("secret-npm-login", NPM_LOGIN, "_auth", Login),
    secret("secret-npm-login", NPM_LOGIN, ":_password", Value(Base64, 8, 4096)),
    secret("secret-pypi-token", "a token of PyPI", "pypi-AgEIcHlwaS5vcmc", Token(Url, 50, 1024)),
    secret("secret-rubygems-token", "a token of RubyGems", "rubygems_", Token(Hex, 48, 48)),
    secret("secret-docker-login", "a login of a registry", "\"auth\"", Login),
    secret("secret-docker-token", "a token of Docker Hub", "dckr_pat_", Token(Url, 27, 27)),
    secret("secret-slack-token", SLACK, "xoxb-", Token(Url, 40, 128)),
    secret("secret-slack-token", SLACK, "xoxp-", Token(Url, 40, 128)),
    secret("secret-slack-token", SLACK, "xapp-", Token(Url, 40, 160)),
    secret("secret-slack-webhook", "a webhook of Slack", "hooks.slack.com/services/T", Inner(Path, 36, 80)),
    secret(
        "secret-discord-webhook",
        "a webhook of Discord",
        "discord.com/api/webhooks/",
        Inner(Path, 80, 120),
    ),
    secret("secret-telegram-token", "a token of a Telegram bot", ":AAE", Numbered(Url, 32, 32)),
    secret("secret-telegram-token", "a token of a Telegram bot", ":AAF", Numbered(Url, 32, 32)),
    secret("secret-telegram-token", "a token of a Telegram bot", ":AAG", Numbered(Url, 32, 32)),
    secret("secret-telegram-token", "a token of a Telegram bot", ":AAH", Numbered(Url, 32, 32)),
    // `sk_live_` and `rk_live_`.
    secret("secret-stripe-key", STRIPE, "k_live_", Inner(Word, 24, 247)),
    secret("secret-square-token", SQUARE, "sq0atp-", Token(Url, 22, 22)),
    secret("secret-square-token", SQUARE, "sq0csp-", Token(Url, 43, 43)),
    secret("secret-shopify-token", SHOPIFY, "shpat_", Token(Hex, 32, 32)),
    secret("secret-shopify-token", SHOPIFY, "shpss_", Token(Hex, 32, 32)),
    secret("secret-sendgrid-key", "an API key of SendGrid", "\"SG.", After(Dotted, 66, 66)),
    secret("secret-sendgrid-key", "an API key of SendGrid", "'SG.", After(Dotted, 66, 66)),
    secret("secret-sendgrid-key", "an API key of SendGrid", "=SG.", After(Dotted, 66, 66)),
    secret("secret-sendgrid-key", "an API key of SendGrid", " SG.", After(Dotted, 66, 66)),
    secret("secret-openai-key", "an API key of OpenAI", "T3BlbkFJ", Inner(Url, 20, 120)),
    secret("secret-anthropic-key", "an API key of Anthropic", "sk-ant-", Token(Url, 80, 128)),
    secret("secret-hugging-face-token", "a token of Hugging Face", "\"hf_", After(Word, 34, 34)),
    secret("secret-hugging-face-token", "a token of Hugging Face", "'hf_", After(Word, 34, 34)),
    secret("secret-hugging-face-token", "a token of Hugging Face", "=hf_", After(Word, 34, 34)),
    secret("secret-hugging-face-token", "a token of Hugging Face", " hf_", After(Word, 34, 34)),
    secret("secret-databricks-token", "a token of Databricks", "dapi", Token(Hex, 32, 32)),
    secret("secret-vault-token", "a token of Vault", "hvs.", Token(Url, 90, 128)),
    secret("secret-terraform-token", "a token of Terraform Cloud", ".atlasv1.", Inner(Url, 60, 70)),
    secret("secret-digitalocean-token", "a token of DigitalOcean", "dop_v1_", Token(Hex, 64, 64)),
    secret("secret-heroku-key", "an API key of Heroku", "HRKU-", Token(Url, 36, 60)),
    secret("secret-atlassian-token", "a token of Atlassian", "ATATT3xFfGF0", Token(Url, 100, 300)),
    secret("secret-linear-key", "an API key of Linear", "lin_api_", Token(Word, 40, 40)),
    secret("secret-grafana-token", "a token of Grafana", "glsa_", Token(Url, 41, 41)),
    secret("secret-sentry-token", "a token of Sentry", "sntrys_", Token(Base64, 80, 512)),
    secret("secret-postman-key", "an API key of Postman", "PMAK-", Token(Url, 59, 59)),
    secret("secret-doppler-token", "a token of Doppler", "dp.pt.", Token(Word, 40, 44)),
    secret("secret-new-relic-key", "a key of New Relic", "NRAK-", Token(Upper, 27, 27)),
    secret("secret-tailscale-key", "a key of Tailscale", "tskey-", Token(Url, 25, 80)),
    secret(Hit::NETRC, "a password in a `.netrc`", "", Named),
    secret(Hit::PYPIRC, "a password for PyPI or its like", "", Named),
    secret(Hit::GIT, "a password that git keeps", "", Named),
];
