//! Routes as many hosts have them, made from their number: twenty a host, 40 % exact, 20 % prefix,
//! 30 % with a name, the rest with a header and a priority or a regular expression.

/// Rules of one host.
pub(crate) const PER_HOST: usize = 20;

/// One rule, and what a request for it must say.
pub(crate) struct Rule {
    host: String,
    /// The path as the route has it, and one that it takes.
    pattern: String,
    path: String,
    tenant: Option<String>,
    has_methods: bool,
}

impl Rule {
    pub(crate) fn new(index: usize) -> Rule {
        let (host, rule) = (index / PER_HOST, index % PER_HOST);
        let (one, two) = (word(rule * 7 + host % 11), word(rule * 13 + host % 5 + 300));
        let mut tenant = None;
        let (pattern, path) = match rule {
            0..=7 => same(format!("/v1/{one}/{two}")),
            8..=11 => (format!("/v1/{one}/{two}/*"), format!("/v1/{one}/{two}/deep/er")),
            12..=17 => (format!("/v1/{one}/{{id}}/{two}"), format!("/v1/{one}/id42/{two}")),
            19 if host % 5 < 2 => {
                let group = word(host % 200);
                (format!("~^/v2/{group}/[0-9]+$"), format!("/v2/{group}/123"))
            }
            _ => {
                tenant = Some(word(host % 1000));
                same(format!("/v3/{one}/{two}"))
            }
        };
        let has_methods = rule % 4 == 1;
        let host = format!("{}-{host}.example.com", word(host * 31));
        Rule { host, pattern, path, tenant, has_methods }
    }

    /// The route of this number, as a line of a file of routes.
    pub(crate) fn line(&self, index: usize) -> String {
        let methods = if self.has_methods { r#","methods":["GET","POST"]"# } else { "" };
        let (headers, priority) = match &self.tenant {
            Some(tenant) => (format!(r#","headers":{{"x-tenant":"{tenant}"}}"#), 10),
            None => (String::new(), 0),
        };
        let (host, path) = (&self.host, &self.pattern);
        // A hundred plans: routes that do the same share one.
        let timeout = 30 + index % 100;
        format!(
            r#"{{"id":"r{index}","cluster":"app","priority":{priority},"timeout":"{timeout}s","#
        ) + &format!(r#""match":{{"host":"{host}","path":"{path}"{methods}{headers}}}}}"#)
            + "\n"
    }

    /// The bytes of a request that it takes.
    pub(crate) fn request(&self) -> Vec<u8> {
        let (host, path) = (&self.host, &self.path);
        let mut text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n");
        if let Some(tenant) = &self.tenant {
            text.push_str(&format!("x-tenant: {tenant}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

fn same(path: String) -> (String, String) {
    (path.clone(), path)
}

/// A word for a number, in the length that people use.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] = [
        "al", "be", "co", "da", "er", "fo", "gi", "ho", "in", "ju", "ka", "lo", "mi", "ne", "or",
        "pu",
    ];
    let mut text = String::new();
    let mut rest = number;
    for _ in 0..3 {
        text.push_str(SYLLABLES[rest % 16]);
        rest /= 16;
    }
    if rest > 0 {
        text.push_str(&rest.to_string());
    }
    text
}
