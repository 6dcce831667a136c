//! What a client receives through the dispatcher, compared with what it receives when it asks a server directly.

use crate::client::Response;

/// A response without what tells when and by whom it was made: everything else has to be the same, byte by byte.
fn anonymous(response: &Response) -> (String, Vec<u8>) {
    let is_same = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("date") && !name.eq_ignore_ascii_case("x-server")
    };
    let head = response.head.lines().filter(is_same).collect::<Vec<_>>().join("\n");
    let server = response.header("x-server").map_or_else(Vec::new, |name| name.as_bytes().to_vec());
    // Text bodies begin with the server's name.
    let body = response.body.strip_prefix(server.as_slice()).unwrap_or(&response.body);
    (head, body.to_vec())
}

/// Checks that all responses are the same.
pub(crate) fn same(through: &[Response], direct: &[Response], what: &str) {
    assert_eq!(through.len(), direct.len(), "{what}");
    for (number, (through, direct)) in through.iter().zip(direct).enumerate() {
        let ((head, body), (wanted_head, wanted_body)) = (anonymous(through), anonymous(direct));
        assert_eq!(head, wanted_head, "{what}: head of response {number}");
        assert_eq!(body.len(), wanted_body.len(), "{what}: body of response {number}");
        let differs = body.iter().zip(&wanted_body).position(|(got, wanted)| got != wanted);
        assert_eq!(differs, None, "{what}: body of response {number} differs there");
    }
}
