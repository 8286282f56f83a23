//! Requests that come back: a loop costs as many passes as a chain of gateways may have, no more.

use crate::support::{Folder, Setup};

/// A gateway that is its own upstream, by a mistake of its configuration, answers 508 instead of
/// asking itself until connections run out.
#[test]
fn a_gateway_that_is_its_own_upstream() {
    let folder = Folder::new();
    let socket = folder.file("self.sock");
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}, {{name: self, address: 'unix:{0}'}}]\n\
         clusters: {{self: {{endpoints: ['unix:{0}']}}}}\nroutes: [{{id: all, cluster: self}}]\n",
        socket.display()
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let mut client = gateway.client();
    let reply = client.get("/around");
    assert_eq!((reply.status, reply.text().as_str()), (508, "508 loop_detected\n"));
    assert_eq!(gateway.log(10).len(), 10, "nine passes and the refusal");
    assert_eq!(gateway.metric("ringway_connections_accepted_total"), 10.0);
    assert_eq!(client.get("/again").status, 508);
}
