// Base URLs: what is read from them, and what is refused.

import Testing

@testable import InteractionAPI

@Suite struct BaseURLTests {
    @Test(arguments: [
        ("https://acme.my.salesforce-scrt.com", "acme.my.salesforce-scrt.com", 443, ""),
        ("HTTPS://Acme.My.Salesforce-SCRT.com/", "acme.my.salesforce-scrt.com", 443, ""),
        ("https://localhost:8443/sandbox/acme//", "localhost", 8443, "/sandbox/acme"),
        ("https://[::1]:8443", "::1", 8443, ""), ("https://[fe80::1]", "fe80::1", 443, ""),
    ])
    func accepted(text: String, host: String, port: Int, path: String) throws {
        let url = try BaseURL(text)
        #expect(url.origin == Origin(isTLS: true, host: host, port: port))
        #expect(url.path == path)
    }

    @Test(arguments: [
        "", "acme.my.salesforce-scrt.com", "ftp://acme", "https://", "https:///x", "https://:443", "https://acme:",
        "https://acme:0",
        "https://acme:65536", "https://acme:+1", "https://user@acme", "https://user:secret@acme", "https://acme?x=1",
        "https://acme#x", "https://acme/x y", "https://acme\r\nHost: x", "https://äcme", "https://[::1",
        "https://[::1]x",
        "https://[acme]", "https://acme\\x", "https://acme:443:443",
    ])
    func refused(text: String) {
        #expect(throws: InteractionSettingsError.self) { try BaseURL(text) }
    }

    @Test func hostHeader() throws {
        #expect(try BaseURL("https://acme.test").origin.hostHeader == "acme.test")
        #expect(try BaseURL("https://acme.test:80").origin.hostHeader == "acme.test:80")
        #expect(try BaseURL("http://[::1]:80").origin.hostHeader == "[::1]")
        #expect(try BaseURL("http://[::1]:81").origin.authority == "[::1]:81")
    }

    @Test(arguments: [
        ("localhost", true), ("127.0.0.1", true), ("127.8.9.1", true), ("[::1]", true), ("localhost.evil.test", false),
        ("127.0.0.1.evil.test", false), ("10.0.0.1", false), ("acme.test", false),
    ])
    func loopback(host: String, isLoopback: Bool) throws {
        #expect(try BaseURL("http://\(host)").origin.isLoopback == isLoopback)
    }
}
