//! Which anchors share a bucket of the search, which decides how fast it is, and nothing else.
//!
//! The search looks at four bytes at a time, and tells of each bucket by the halves of these bytes whether
//! one of its anchors may begin there; only then it compares. So a bucket should hold anchors that are
//! alike. It takes the anchors in turn into 16 buckets, or into 8 where vectors are shorter. This
//! arrangement was found by trying swaps on some megabytes of sources, programs and documentation: in
//! three of ten thousand places it has to compare, and in 14 with 8 buckets. In the order of the list of
//! secrets these were 68 and 509.

use crate::inspect::secrets::Secret;

/// In 8 buckets, each row has the anchors of the eighth row below it as well.
const BUCKETS: [&[&str]; 16] = [
    &["\"SG.", ":AAH", "ATATT3xFfGF0", "'SG."],
    &["GOCSPX-", "discord.com/api/webhooks/", "github_pat_", "aws_secret_access_key"],
    &["lin_api_", "ghu_", "npm_", "PMAK-"],
    &["hvs.", "dp.pt.", "ghr_", "ghp_"],
    &["sq0csp-", "NRAK-", "PRIVATE KEY", "pypi-AgEIcHlwaS5vcmc"],
    &["sntrys_", "sk-ant-", "xoxb-", "xoxp-"],
    &["PuTTY-User-Key-File-", " SG.", "=SG.", "sq0atp-"],
    &["client-key-data", "\"hf_", " hf_", "=hf_"],
    &["\"auth\"", "AGE-SECRET-KEY-1", "_authToken", "_auth"],
    &["ghs_", "AIzaSy", "AWS_SECRET_ACCESS_KEY", "AKIA"],
    &["dapi", "hooks.slack.com/services/T", "dop_v1_", "gho_"],
    &["glpat-", "dckr_pat_", "glsa_", "T3BlbkFJ"],
    &["shpss_", "shpat_", "xapp-", ":AAF"],
    &["k_live_", ".atlasv1.", ":AAG", ":AAE"],
    &["tskey-", "HRKU-", "rubygems_", ":_password"],
    &["AccountKey", "'hf_", "ASIA", "ecretAccessKey"],
];

/// When a secret's anchor is handed to the search. One that isn't listed comes last, and costs some speed.
pub(super) fn turn(secret: &Secret) -> usize {
    let in_bucket = |anchors: &&[&str]| anchors.iter().position(|anchor| *anchor == secret.anchor);
    let mut buckets = BUCKETS.iter().enumerate();
    let found = buckets.find_map(|(bucket, anchors)| Some((bucket, in_bucket(anchors)?)));
    found.map_or(usize::MAX, |(bucket, row)| row * BUCKETS.len() + bucket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::secrets::SECRETS;

    #[test]
    fn each_anchor_has_a_turn_of_its_own() {
        let anchors = SECRETS.iter().filter(|secret| !secret.anchor.is_empty());
        let mut turns: Vec<usize> = anchors.map(turn).collect();
        turns.sort_unstable();
        let all: Vec<usize> = (0..turns.len()).collect();
        assert_eq!(turns, all, "an anchor is missing, is there twice, or a bucket is too full");
        assert!(turns.len() <= 64, "with more the search has no vectors");
    }

    #[test]
    fn what_goes_on_is_found_before_what_it_begins_with() {
        for short in &SECRETS {
            let longer = SECRETS.iter().filter(|other| other.anchor.len() > short.anchor.len());
            for long in
                longer.filter(|long| !short.anchor.is_empty() && long.anchor.starts_with(short.anchor))
            {
                assert!(turn(long) < turn(short), "{} hides {}", short.anchor, long.anchor);
            }
        }
    }
}
