//! What is wrong with a chain, whether or not a server would start with it.
//!
//! A chain that some clients refuse still loads (a warning says so), because which clients there
//! are is not known here; `ringway certs check` calls the same things errors, before they go live.

use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;

use super::facts::CertificateFacts;
use super::pair::{self, PairFiles};
use super::{certificates, read};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works today, or with most clients.
    Warning,
    /// Clients will refuse it.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: `chain`, `key`, `names`, `expiry` or `key_ids`.
    pub what: &'static str,
    /// What was found.
    pub text: String,
}

/// Below so many days of life a certificate is worth a warning.
const EXPIRES_SOON_DAYS: u64 = 30;
const DAY_SECONDS: u64 = 86_400;

/// Looks at a chain, its own certificate first, at the time `now` in seconds since 1970.
pub fn findings(chain: &[CertificateFacts], now: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(order(chain));
    found.extend(names(chain));
    found.extend(expiry(chain, now));
    found.extend(key_ids(chain));
    found
}

fn finding(level: Level, what: &'static str, text: impl Into<String>) -> Finding {
    Finding { level, what, text: text.into() }
}

/// Each certificate is signed by the one behind it (RFC 8446 section 4.4.2).
fn order(chain: &[CertificateFacts]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, pair) in (1..).zip(chain.windows(2)) {
        let [one, next] = pair else { continue };
        if one.issuer_der != next.subject_der {
            let text = format!(
                "certificate {} ({}) did not issue certificate {number} ({}), `{}` did",
                number + 1,
                next.subject,
                one.subject,
                one.issuer
            );
            found.push(finding(Level::Error, "chain", text));
        } else if !next.is_authority {
            let text = format!("certificate {} ({}) is no authority", number + 1, next.subject);
            found.push(finding(Level::Error, "chain", text));
        }
    }
    let last = chain.last().filter(|last| chain.len() > 1 && last.is_self_issued());
    if last.is_some() {
        let text = "the last certificate is a root: clients have their own, it is sent in vain";
        found.push(finding(Level::Warning, "chain", text));
    }
    if found.is_empty() {
        let text = format!("{} certificates in order", chain.len());
        found.push(finding(Level::Ok, "chain", text));
    }
    found
}

fn names(chain: &[CertificateFacts]) -> Option<Finding> {
    let own = chain.first()?;
    if own.is_nameless() {
        let text = format!("`{}` has no alternative name: no client takes it", own.subject);
        return Some(finding(Level::Error, "names", text));
    }
    let addresses = own.addresses.iter().map(ToString::to_string);
    let names: Vec<String> = own.dns_names.iter().cloned().chain(addresses).collect();
    Some(finding(Level::Ok, "names", names.join(", ")))
}

fn expiry(chain: &[CertificateFacts], now: u64) -> Vec<Finding> {
    let of = |(number, facts): (usize, &CertificateFacts)| {
        let whose = format!("certificate {number} ({})", facts.subject);
        let days = facts.not_after.saturating_sub(now) / DAY_SECONDS;
        let (level, text) = if now > facts.not_after {
            let days = (now - facts.not_after) / DAY_SECONDS;
            (Level::Error, format!("{whose} expired {days} days ago"))
        } else if now < facts.not_before {
            let days = (facts.not_before - now).div_ceil(DAY_SECONDS);
            (Level::Error, format!("{whose} is not valid yet, but in {days} days"))
        } else if days < EXPIRES_SOON_DAYS {
            (Level::Warning, format!("{whose} expires in {days} days"))
        } else {
            (Level::Ok, format!("{whose} expires in {days} days"))
        };
        finding(level, "expiry", text)
    };
    (1..).zip(chain).map(of).collect()
}

/// The authority key identifier names the key that signed (RFC 5280 section 4.2.1.1): where several
/// certificates of one authority are about, clients build the path by it.
fn key_ids(chain: &[CertificateFacts]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, facts) in (1..).zip(chain) {
        let whose = format!("certificate {number} ({})", facts.subject);
        if facts.is_authority && facts.key_id.is_none() {
            let text = format!("{whose} is an authority without a subject key identifier");
            found.push(finding(Level::Error, "key_ids", text));
        }
        if facts.authority_key_id.is_none() && !facts.is_self_issued() {
            let text = format!("{whose} has no authority key identifier");
            found.push(finding(Level::Warning, "key_ids", text));
        }
        let next = chain.get(number).filter(|next| facts.issuer_der == next.subject_der);
        let ids = next.and_then(|next| next.key_id.as_ref()).zip(facts.authority_key_id.as_ref());
        if ids.is_some_and(|(subject, authority)| subject != authority) {
            let text = format!(
                "{whose} was signed by another key than that of certificate {}: \
                 authority and subject key identifier differ",
                number + 1
            );
            found.push(finding(Level::Error, "key_ids", text));
        }
    }
    if found.is_empty() {
        found.push(finding(Level::Ok, "key_ids", "subject and authority key identifiers agree"));
    }
    found
}

/// Reads two files and looks at everything: chain, key, names, expiry, key identifiers. A client's
/// certificate needs no names.
///
/// # Errors
/// What cannot be read.
pub fn check_files(
    cert: &Path,
    key: Option<&Path>,
    is_server: bool,
) -> Result<Vec<Finding>, String> {
    let read_file = |path: &Path| std::fs::read(path);
    let bytes = read(read_file, cert)?;
    let chain = pair::facts(&certificates(&bytes, cert)?, cert)?;
    let mut found = Vec::new();
    if let Some(key) = key {
        let files = PairFiles { cert: cert.to_owned(), key: PathBuf::from(key) };
        found.push(match pair::load(read_file, &files, 0) {
            Ok(_) => finding(Level::Ok, "key", "it is that of the first certificate"),
            Err(fault) => finding(Level::Error, "key", fault.message),
        });
    }
    let looked_at = findings(&chain, UnixTime::now().as_secs());
    found.extend(looked_at.into_iter().filter(|one| is_server || one.what != "names"));
    Ok(found)
}

/// Reads a bundle of authorities and looks at each: whether it is one, and when it ends.
///
/// # Errors
/// What cannot be read.
pub fn check_authorities(path: &Path) -> Result<Vec<Finding>, String> {
    let bytes = read(|path| std::fs::read(path), path)?;
    let all = pair::facts(&certificates(&bytes, path)?, path)?;
    let no_authority = |facts: &&CertificateFacts| !facts.is_authority;
    let wrong = all.iter().filter(no_authority).map(|facts| {
        finding(Level::Error, "authority", format!("`{}` may sign nobody", facts.subject))
    });
    let mut found: Vec<Finding> = wrong.collect();
    found.extend(expiry(&all, UnixTime::now().as_secs()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Made};

    fn chain(made: &[&Made], authorities: &[&Authority]) -> Vec<CertificateFacts> {
        let ders = made.iter().map(|made| &made.der);
        let ders = ders.chain(authorities.iter().map(|authority| &authority.der));
        ders.map(|der| CertificateFacts::of(der).unwrap()).collect()
    }

    fn worst(found: &[Finding], what: &str) -> Level {
        found.iter().filter(|one| one.what == what).map(|one| one.level).max().unwrap()
    }

    fn now(chain: &[CertificateFacts]) -> u64 {
        chain[0].not_after - 100 * DAY_SECONDS
    }

    #[test]
    fn a_good_chain_has_no_errors() {
        let root = Authority::new("root");
        let chain = chain(&[&root.issue(&["a.test"])], &[]);
        let found = findings(&chain, now(&chain));
        assert!(found.iter().all(|one| one.level == Level::Ok), "{found:?}");
        let whats: Vec<&str> = found.iter().map(|one| one.what).collect();
        assert_eq!(whats, ["chain", "names", "expiry", "key_ids"]);
    }

    #[test]
    fn a_chain_in_the_wrong_order_is_found() {
        let (root, other) = (Authority::new("root"), Authority::new("other"));
        let made = root.issue(&["a.test"]);
        let mut wrong = chain(&[&made], &[&other]);
        assert_eq!(worst(&findings(&wrong, now(&wrong)), "chain"), Level::Error);
        wrong = chain(&[&made, &root.issue(&["b.test"])], &[&root]);
        assert_eq!(worst(&findings(&wrong, now(&wrong)), "chain"), Level::Error);
        let sent_in_vain = chain(&[&made], &[&root]);
        let found = findings(&sent_in_vain, now(&sent_in_vain));
        assert_eq!(worst(&found, "chain"), Level::Warning);
    }

    #[test]
    fn key_identifiers_tell_authorities_of_one_name_apart() {
        let (old, new) = (Authority::new("root"), Authority::new("root"));
        let chain = chain(&[&old.issue(&["a.test"])], &[&new]);
        let found = findings(&chain, now(&chain));
        assert_eq!(worst(&found, "key_ids"), Level::Error);
        assert_eq!(worst(&found, "chain"), Level::Warning, "the names are those of an issuer");
    }

    #[test]
    fn expiry_is_an_error_and_soon_a_warning() {
        let root = Authority::new("root");
        let expired = chain(&[&root.issue_expired(&["a.test"])], &[]);
        let end = expired[0].not_after;
        for (now, level) in [
            (end - 40 * DAY_SECONDS, Level::Ok),
            (end - 29 * DAY_SECONDS, Level::Warning),
            (end, Level::Warning),
            (end + 1, Level::Error),
            (expired[0].not_before - 1, Level::Error),
        ] {
            assert_eq!(worst(&findings(&expired, now), "expiry"), level, "{now}");
        }
    }

    #[test]
    fn a_certificate_without_names_is_an_error() {
        let chain = chain(&[&Authority::new("root").issue(&[])], &[]);
        assert_eq!(worst(&findings(&chain, now(&chain)), "names"), Level::Error);
    }
}
