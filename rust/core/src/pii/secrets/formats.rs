//! Forms of keys that begin with something telling, as a table.

use super::super::{byte, byte_before, is_word};
use crate::abnormality::entropy;
use crate::text::Span;

/// What a key is written with after its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pii) enum Body {
    /// Lower-case hex digits.
    Hex,
    /// Capitals and digits.
    Upper,
    /// Letters and digits.
    Alnum,
    /// Letters, digits and `_`.
    Word,
    /// Letters, digits, `_` and `-`.
    Token,
    /// Letters, digits, `_`, `-` and `.`.
    Dotted,
    /// The alphabet of base64, and `%` where it is escaped.
    Base64,
    /// Letters, digits, `_`, `-` and `/`.
    Path,
}

impl Body {
    pub(in crate::pii) const fn accepts(self, byte: u8) -> bool {
        match self {
            Self::Hex => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
            Self::Upper => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Token => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'%' | b'-' | b'_'),
            Self::Path => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/'),
        }
    }
}

/// One form: the id of its detector, the prefix, and what follows it how often.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) id: &'static str,
    pub(super) prefix: &'static str,
    pub(super) body: Body,
    pub(super) least: usize,
    pub(super) most: usize,
}

const fn form(id: &'static str, prefix: &'static str, body: Body, least: usize, most: usize) -> Format {
    Format { id, prefix, body, least, most }
}

/// Keys have no more characters than this, unless their form says so.
const LONG: usize = 4096;

pub(super) const FORMATS: &[Format] = &[
    form("secret.aws_key_id", "AKIA", Body::Upper, 16, 16),
    form("secret.aws_key_id", "ASIA", Body::Upper, 16, 16),
    form("secret.aws_key_id", "ABIA", Body::Upper, 16, 16),
    form("secret.aws_key_id", "ACCA", Body::Upper, 16, 16),
    form("secret.aws_bedrock", "ABSK", Body::Base64, 100, LONG),
    form("secret.google_api_key", "AIza", Body::Token, 35, 35),
    form("secret.google_oauth", "ya29.", Body::Token, 20, LONG),
    form("secret.google_oauth", "GOCSPX-", Body::Token, 20, 40),
    form("secret.google_refresh", "1//0", Body::Token, 40, 200),
    form("secret.azure_key", "AccountKey=", Body::Base64, 40, 120),
    form("secret.azure_key", "SharedAccessKey=", Body::Base64, 40, 120),
    form("secret.azure_sas", "sig=", Body::Base64, 40, 120),
    form("secret.github", "ghp_", Body::Alnum, 30, 255),
    form("secret.github", "gho_", Body::Alnum, 30, 255),
    form("secret.github", "ghu_", Body::Alnum, 30, 255),
    form("secret.github", "ghs_", Body::Alnum, 30, 255),
    form("secret.github", "ghr_", Body::Alnum, 30, 255),
    form("secret.github", "github_pat_", Body::Word, 40, 255),
    form("secret.gitlab", "glpat-", Body::Dotted, 18, 300),
    form("secret.gitlab", "glptt-", Body::Token, 18, 300),
    form("secret.gitlab", "gldt-", Body::Token, 18, 300),
    form("secret.gitlab", "glrt-", Body::Dotted, 18, 300),
    form("secret.gitlab", "glcbt-", Body::Token, 18, 300),
    form("secret.gitlab", "glft-", Body::Token, 18, 300),
    form("secret.gitlab", "glimt-", Body::Token, 18, 300),
    form("secret.gitlab", "glagent-", Body::Token, 18, 300),
    form("secret.gitlab", "gloas-", Body::Token, 18, 300),
    form("secret.gitlab", "glsoat-", Body::Token, 18, 300),
    form("secret.gitlab", "glffct-", Body::Token, 18, 300),
    form("secret.gitlab", "GR1348941", Body::Token, 18, 40),
    form("secret.slack", "xoxa-", Body::Token, 20, 300),
    form("secret.slack", "xoxb-", Body::Token, 20, 300),
    form("secret.slack", "xoxp-", Body::Token, 20, 300),
    form("secret.slack", "xoxo-", Body::Token, 20, 300),
    form("secret.slack", "xoxr-", Body::Token, 20, 300),
    form("secret.slack", "xoxs-", Body::Token, 20, 300),
    form("secret.slack", "xoxc-", Body::Token, 20, 300),
    form("secret.slack", "xoxd-", Body::Base64, 20, 400),
    form("secret.slack", "xoxe-", Body::Token, 20, 300),
    form("secret.slack", "xoxe.xoxp-", Body::Token, 20, 300),
    form("secret.slack", "xoxe.xoxb-", Body::Token, 20, 300),
    form("secret.slack", "xapp-", Body::Token, 20, 300),
    form("secret.slack_webhook", "hooks.slack.com/services/", Body::Path, 20, 120),
    form("secret.slack_webhook", "hooks.slack.com/workflows/", Body::Path, 20, 160),
    form("secret.discord_webhook", "discord.com/api/webhooks/", Body::Path, 60, 160),
    form("secret.discord_webhook", "discordapp.com/api/webhooks/", Body::Path, 60, 160),
    form("secret.stripe", "sk_live_", Body::Word, 8, 255),
    form("secret.stripe", "sk_test_", Body::Word, 8, 255),
    form("secret.stripe", "rk_live_", Body::Word, 8, 255),
    form("secret.stripe", "rk_test_", Body::Word, 8, 255),
    form("secret.stripe", "pk_live_", Body::Word, 8, 255),
    form("secret.stripe", "pk_test_", Body::Word, 8, 255),
    form("secret.stripe", "whsec_", Body::Base64, 20, 120),
    form("secret.kalguard", "kg_live_", Body::Token, 8, 255),
    form("secret.kalguard", "kg_test_", Body::Token, 8, 255),
    form("secret.anthropic", "sk-ant-", Body::Token, 20, 255),
    form("secret.openai", "sk-", Body::Token, 20, 300),
    form("secret.groq", "gsk_", Body::Alnum, 30, 100),
    form("secret.xai", "xai-", Body::Alnum, 40, 120),
    form("secret.perplexity", "pplx-", Body::Alnum, 30, 100),
    form("secret.replicate", "r8_", Body::Alnum, 30, 60),
    form("secret.nvidia", "nvapi-", Body::Token, 40, 120),
    form("secret.langsmith", "lsv2_pt_", Body::Word, 30, 80),
    form("secret.langsmith", "lsv2_sk_", Body::Word, 30, 80),
    form("secret.tavily", "tvly-", Body::Token, 20, 80),
    form("secret.pinecone", "pcsk_", Body::Word, 40, 120),
    form("secret.huggingface", "hf_", Body::Alnum, 30, 80),
    form("secret.huggingface", "api_org_", Body::Alnum, 30, 80),
    form("secret.npm", "npm_", Body::Alnum, 30, 80),
    form("secret.pypi", "pypi-", Body::Token, 50, 400),
    form("secret.rubygems", "rubygems_", Body::Hex, 48, 48),
    form("secret.docker", "dckr_pat_", Body::Token, 20, 80),
    form("secret.docker", "dckr_oat_", Body::Token, 20, 80),
    form("secret.digitalocean", "dop_v1_", Body::Hex, 64, 64),
    form("secret.digitalocean", "doo_v1_", Body::Hex, 64, 64),
    form("secret.digitalocean", "dor_v1_", Body::Hex, 64, 64),
    form("secret.sendgrid", "SG.", Body::Dotted, 50, 90),
    form("secret.mailgun", "key-", Body::Hex, 32, 32),
    form("secret.sendinblue", "xkeysib-", Body::Token, 60, 120),
    form("secret.shopify", "shpat_", Body::Hex, 32, 40),
    form("secret.shopify", "shpca_", Body::Hex, 32, 40),
    form("secret.shopify", "shppa_", Body::Hex, 32, 40),
    form("secret.shopify", "shpss_", Body::Hex, 32, 40),
    form("secret.square", "sq0atp-", Body::Token, 22, 60),
    form("secret.square", "sq0csp-", Body::Token, 40, 60),
    form("secret.square", "EAAA", Body::Token, 56, 80),
    form("secret.facebook", "EAACEdEose0cBA", Body::Alnum, 20, 255),
    form("secret.braintree", "access_token$production$", Body::Alnum, 16, 60),
    form("secret.heroku", "HRKU-", Body::Token, 32, 80),
    form("secret.databricks", "dapi", Body::Hex, 32, 32),
    form("secret.vault", "hvs.", Body::Token, 24, 200),
    form("secret.vault", "hvb.", Body::Token, 24, 300),
    form("secret.vault", "hvr.", Body::Token, 24, 200),
    form("secret.linear", "lin_api_", Body::Alnum, 32, 64),
    form("secret.linear", "lin_oauth_", Body::Alnum, 32, 80),
    form("secret.notion", "secret_", Body::Alnum, 43, 43),
    form("secret.notion", "ntn_", Body::Alnum, 40, 60),
    form("secret.atlassian", "ATATT3", Body::Base64, 60, 300),
    form("secret.atlassian", "ATCTT3", Body::Base64, 60, 300),
    form("secret.bitbucket", "ATBB", Body::Alnum, 28, 40),
    form("secret.newrelic", "NRAK-", Body::Upper, 27, 27),
    form("secret.newrelic", "NRII-", Body::Token, 30, 40),
    form("secret.sentry", "sntrys_", Body::Base64, 40, 400),
    form("secret.sentry", "sntryu_", Body::Hex, 64, 64),
    form("secret.grafana", "glsa_", Body::Word, 32, 60),
    form("secret.grafana", "glc_", Body::Base64, 32, 400),
    form("secret.supabase", "sbp_", Body::Hex, 40, 40),
    form("secret.supabase", "sb_secret_", Body::Token, 20, 60),
    form("secret.vercel", "vcp_", Body::Alnum, 24, 80),
    form("secret.netlify", "nfp_", Body::Alnum, 30, 60),
    form("secret.figma", "figd_", Body::Token, 36, 60),
    form("secret.postman", "PMAK-", Body::Token, 50, 70),
    form("secret.doppler", "dp.pt.", Body::Alnum, 40, 50),
    form("secret.doppler", "dp.st.", Body::Dotted, 40, 80),
    form("secret.planetscale", "pscale_tkn_", Body::Dotted, 32, 70),
    form("secret.planetscale", "pscale_pw_", Body::Dotted, 32, 70),
    form("secret.pulumi", "pul-", Body::Hex, 40, 40),
    form("secret.circleci", "CCIPAT_", Body::Word, 40, 90),
    form("secret.sourcegraph", "sgp_", Body::Word, 40, 70),
    form("secret.tailscale", "tskey-", Body::Token, 20, 80),
    form("secret.sonarqube", "sqp_", Body::Hex, 40, 40),
    form("secret.sonarqube", "squ_", Body::Hex, 40, 40),
    form("secret.artifactory", "AKCp", Body::Alnum, 68, 80),
    form("secret.dropbox", "sl.", Body::Token, 130, 300),
    form("secret.alibaba", "LTAI", Body::Alnum, 16, 26),
    form("secret.age", "AGE-SECRET-KEY-1", Body::Upper, 58, 58),
    form("secret.onepassword", "ops_eyJ", Body::Token, 100, LONG),
    form("secret.hubspot", "pat-na1-", Body::Token, 36, 36),
    form("secret.hubspot", "pat-eu1-", Body::Token, 36, 36),
    form("secret.crates", "cio", Body::Alnum, 32, 32),
    form("secret.neon", "napi_", Body::Alnum, 40, 80),
    form("secret.fly", "fm2_", Body::Base64, 60, LONG),
    form("secret.contentful", "CFPAT-", Body::Token, 43, 43),
    form("secret.flutterwave", "FLWSECK-", Body::Token, 32, 60),
];

impl Format {
    /// The key whose prefix stands at `at`.
    pub(super) fn read(&self, text: &str, at: Span) -> Option<Span> {
        let bytes = text.as_bytes();
        // A prefix inside what it could be part of is none; this also keeps the time linear. Prefixes before paths hold
        // a dot, which paths do not.
        let inside = self.body != Body::Path && self.body.accepts(byte_before(bytes, at.start, 1));
        if inside || bytes.get(at.clone()) != Some(self.prefix.as_bytes()) {
            return None;
        }
        let rest = bytes.get(at.end..)?;
        let length = rest.iter().take(self.most + 1).take_while(|byte| self.body.accepts(**byte)).count();
        let body = rest.get(..length)?;
        let trailing = body.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-' | b'/' | b'%')).count();
        let body = body.get(..length - trailing)?;
        let padding = rest.get(length..)?.iter().take(2).take_while(|byte| **byte == b'=').count();
        let padding = if self.body == Body::Base64 && trailing == 0 { padding } else { 0 };
        let fits = (self.least..=self.most).contains(&body.len()) && (trailing > 0 || !is_word(byte(rest, length)));
        (fits && looks_random(body)).then(|| at.start..at.end + body.len() + padding)
    }
}

/// Letters and digits, or both cases, without much repetition: neither words nor a row of `x`.
fn looks_random(body: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| body.iter().any(test);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
        || has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && body.len() >= 30;
    let mut words = body.split(|byte| matches!(byte, b'-' | b'_'));
    let worded = words.all(|word| word.len() < 12 && is_one_kind(word));
    mixed && !worded && entropy(body.get(..body.len().min(128)).unwrap_or_default()) >= 2.7
}

fn is_one_kind(word: &[u8]) -> bool {
    let all = |test: fn(&u8) -> bool| word.iter().all(test);
    all(u8::is_ascii_lowercase) || all(u8::is_ascii_digit) || all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice, clippy::indexing_slicing)]
    use super::*;

    /// Characters of an alphabet in an order without pattern; made here, so that no key stands in the source.
    pub(crate) fn made_up(body: Body, length: usize) -> String {
        let alphabet: Vec<char> = (0x30..0x7B)
            .filter(|&byte| byte != b'-' && body.accepts(byte) && byte.is_ascii_alphanumeric())
            .map(char::from)
            .collect();
        let mut state = 12_345_u64;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                alphabet[(state >> 33) as usize % alphabet.len()]
            })
            .collect()
    }

    fn read<'t>(format: &Format, text: &'t str) -> Option<&'t str> {
        let at = text.find(format.prefix)?;
        format.read(text, at..at + format.prefix.len()).map(|span| &text[span])
    }

    #[test]
    fn every_form_is_read_from_its_prefix_to_its_end() {
        for format in FORMATS {
            for length in [format.least, format.most.min(200)] {
                let key = format!("{}{}", format.prefix, made_up(format.body, length));
                for frame in ["key {} here", "\"{}\"", "{}", "x={}, y", "({})."] {
                    let text = frame.replace("{}", &key);
                    assert_eq!(read(format, &text), Some(key.as_str()), "{text}");
                }
            }
        }
    }

    #[test]
    fn addresses_of_hooks_are_keys() {
        let key = format!("discord.com/api/webhooks/{}", made_up(Body::Path, 80));
        let text = format!("https://{key} ");
        let found: Vec<_> = FORMATS.iter().filter_map(|format| read(format, &text)).collect();
        assert_eq!(found, [key]);
    }

    #[test]
    fn what_is_short_or_part_of_a_word_or_a_placeholder_is_no_key() {
        for format in FORMATS {
            let key = |length: usize| format!("{}{}", format.prefix, made_up(format.body, length));
            assert_eq!(read(format, &key(format.least - 1)), None, "{}", format.prefix);
            let joined = read(format, &format!("0{}", key(format.least))).is_some();
            assert_eq!(joined, format.body == Body::Path, "{}", format.prefix);
            assert_eq!(
                read(format, &format!("{}{}", format.prefix, "x".repeat(format.least))),
                None,
                "{}",
                format.prefix
            );
        }
        for text in ["sk-learn-contrib-and-2-more-packages", "npm_config_registry_and_other_settings_1", "hf_transfer"]
        {
            assert!(FORMATS.iter().all(|format| read(format, text).is_none()), "{text}");
        }
    }
}
