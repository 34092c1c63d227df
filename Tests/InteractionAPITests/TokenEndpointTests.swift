// Token endpoints that behave badly, and what is kept out of every text.

import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import RoutingContract
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(2))) struct TokenEndpointTests {
    @Test func theRequestOnTheWire() async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL, change: { $0.userAgent = "test/1" }) { tokens in
            async let token = tokens.get().token
            let request = await server.answerToken("200 OK", grant())
            #expect(await token?.authorization == "Bearer 00D000000000001!opaque")
            #expect(request?.line == "POST /services/oauth2/token HTTP/1.1")
            #expect(request?.headers["content-type"] == "application/x-www-form-urlencoded")
            #expect(request?.headers["user-agent"] == "test/1")
            let form = request.map { String(decoding: $0.body, as: UTF8.self) } ?? ""
            let prefix = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
            try #require(form.hasPrefix(prefix))
            let parts = form.dropFirst(prefix.count).split(separator: ".")
            #expect(parts.count == 3)
            let header = try #require(object(parts[0]))
            #expect(header["alg"] as? String == "RS256")
            let claims = try #require(object(parts[1]))
            #expect(Set(claims.keys) == ["iss", "sub", "aud", "exp"])
            #expect(claims["iss"] as? String == "consumer-key")
            #expect(claims["sub"] as? String == "user@example.test")
            #expect(claims["aud"] as? String == "https://login.salesforce.com")
            let ahead = (claims["exp"] as? Double ?? 0) - Date().timeIntervalSince1970
            #expect(60...180 ~= ahead)
        }
        try await server.stop()
    }

    private func object(_ part: Substring) -> [String: Any]? {
        let base64 = String(part.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        let data = Data(base64Encoded: base64 + String(repeating: "=", count: (4 - base64.count % 4) % 4))
        return data.flatMap { try? JSONSerialization.jsonObject(with: $0) } as? [String: Any]
    }

    /// Status, headers, body, and what the failure says.
    @Test(arguments: [
        ("302 Found", "Location: /elsewhere\r\n", "", "redirects (HTTP 302)"),
        ("307 Temporary Redirect", "Location: https://evil.test/\r\n", "", "redirects (HTTP 307)"),
        ("500 Internal Server Error", "", "oops", "is not available (HTTP 500)"),
        ("503 Service Unavailable", "Retry-After: 5\r\n", "", "is not available (HTTP 503)"),
        ("429 Too Many Requests", "", "", "is not available (HTTP 429)"),
        ("404 Not Found", "", "<html>", "HTTP 404 without saying why"),
        ("200 OK", "", "{\"access_token\":", "HTTP 200 without an access token"),
        ("200 OK", "", "[]", "HTTP 200 without an access token"),
        ("200 OK", "", "{}", "HTTP 200 without an access token"),
        ("200 OK", "Content-Encoding: gzip\r\n", "\u{1F}x", "HTTP 200 without an access token"),
        ("200 OK", "", #"{"access_token":"a\r\nX: y"}"#, "cannot be a header"),
        ("200 OK", "", #"{"access_token":"t","token_type":"mac"}"#, "no bearer token"),
        ("200 OK", "", #"{"access_token":"t"}"#, "does not say which org"),
        ("200 OK", "", #"{"access_token":"t","id":"https://x.test/id"}"#, "does not say which org"),
        ("200 OK", "", grant("00D000000000002!x"), "a token of org 00D000000000002"),
        ("200 OK", "", grant(org: "00D000000000002"), "a token of org 00D000000000002"),
        ("200 OK", "", grant("opaque", org: "00D000000000002"), "a token of org 00D000000000002"),
        ("400 Bad Request", "", #"{"error":"invalid_client"}"#, "the app is not accepted"),
    ])
    func badAnswers(status: String, headers: String, body: String, complaint: String) async throws {
        let server = try await ScriptedServer()
        let log = LogLines()
        try await withTokens(server.tokenURL, logger: log.logger) { tokens in
            async let result = tokens.get()
            await server.answerToken(status, body, headers: headers)
            let text = await result.complaint
            #expect(text.contains(complaint), "\(text)")
            // Nobody asks again before the pause is over.
            #expect(await tokens.get().token == nil)
            #expect(server.acceptedCount == 1)
            #expect(log.all.count == 1)
        }
        try await server.stop()
    }

    @Test func tooLargeAnAnswer() async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL, change: { $0.maximumAnswer = 1000 }) { tokens in
            async let announced = tokens.get()
            await server.answerToken("200 OK", String(repeating: "x", count: 1001))
            #expect(await announced.complaint.contains("too large"))
        }
        try await withTokens(server.tokenURL, change: { $0.maximumAnswer = 1000 }) { tokens in
            async let chunked = tokens.get()
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in 0..<3 { peer.write("190\r\n" + String(repeating: "x", count: 400) + "\r\n") }
            #expect(await chunked.complaint.contains("too large"))
        }
        try await server.stop()
    }

    /// Neither an answer that never comes nor one that never ends is waited for.
    @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
    func slowAnswers(beginning: String) async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL, change: { $0.requestTimeout = .milliseconds(300) }) { tokens in
            async let result = tokens.get()
            let peer = await server.accept()
            _ = await peer.readRequest()
            if !beginning.isEmpty { peer.write(beginning) }
            #expect(await result.complaint.contains("did not answer in time"))
        }
        try await server.stop()
    }

    @Test func brokenConnections() async throws {
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL) { tokens in
            async let result = tokens.get()
            let peer = await server.accept()
            _ = await peer.readRequest()
            try await peer.reset()
            #expect(await !result.complaint.isEmpty)
        }
        let port = server.port
        try await server.stop()
        try await withTokens("http://127.0.0.1:\(port)/t") {
            let text = await $0.get().complaint
            #expect(text.contains("could not be") && text.contains("127.0.0.1:\(port)"), "\(text)")
        }
    }

    @Test func certificatesAreVerified() async throws {
        let certificates = try Certificates.shared.get()
        for kind in [Certificates.Server.good, .otherHost, .expired] {
            let server = try await ScriptedServer(tls: certificates.context(kind))
            let url = "https://localhost:\(server.port)/token"
            // Trusted by nobody, and by the CA file.
            try await withTokens(url) {
                let text = await $0.get().complaint
                #expect(text.contains("could not be asked: its certificate was not accepted"), "\(text)")
            }
            try await withTokens(url, change: { $0.extraCAFile = certificates.authorityFile }) { tokens in
                async let result = tokens.get()
                if kind == .good {
                    var peer = await server.accept()
                    var request = await peer.readRequest()
                    while request == nil {
                        peer = await server.accept()
                        request = await peer.readRequest()
                    }
                    peer.answer("200 OK", grant())
                    #expect(await result.token != nil)
                } else {
                    let text = await result.complaint
                    #expect(text.contains("could not be asked"), "\(text)")
                }
            }
            try await server.stop()
        }
    }

    @Test func throughAProxysTunnel() async throws {
        let certificates = try Certificates.shared.get()
        let server = try await ScriptedServer()
        try await withTokens(
            "https://localhost:4443/token",
            change: {
                $0.proxy = HTTPProxy(host: "127.0.0.1", port: server.port, authorization: "Basic dTpw")
                $0.extraCAFile = certificates.authorityFile
            }
        ) { tokens in
            async let result = tokens.get()
            let peer = await server.accept()
            let opening = await peer.readRequest()
            #expect(opening?.line == "CONNECT localhost:4443 HTTP/1.1")
            #expect(opening?.headers["proxy-authorization"] == "Basic dTpw")
            peer.write("HTTP/1.1 200 OK\r\n\r\n")
            try await peer.startTLS(certificates.context(.good))
            let request = await peer.readRequest()
            #expect(request?.line == "POST /token HTTP/1.1")
            #expect(request?.headers["proxy-authorization"] == nil)
            peer.answer("200 OK", grant())
            #expect(await result.token != nil)
        }
        try await server.stop()
    }

    @Test func nothingSecretIsSaid() async throws {
        let server = try await ScriptedServer()
        let log = LogLines()
        try await withTokens(server.tokenURL, logger: log.logger) { tokens in
            async let result = tokens.get()
            let peer = await server.accept()
            let request = try #require(await peer.readRequest())
            let assertion = String(decoding: request.body, as: UTF8.self).split(separator: "=").last.map(String.init)
            let secret = try #require(assertion)
            // A hostile endpoint sends the assertion back.
            peer.answer(
                "400 Bad Request",
                #"{"error":"invalid_\#(secret)","error_description":"no: \#(secret)\t\#(secret)"}"#)
            let failure = await result
            var dumped = ""
            dump(failure, to: &dumped)
            dump(tokens, to: &dumped)
            let texts = ["\(failure)", String(reflecting: failure), dumped, "\(tokens)", String(reflecting: tokens)]
            for text in texts + log.all {
                #expect(!text.contains(secret.prefix(60)))
                #expect(!text.contains(secret.suffix(60)))
                #expect(!text.contains("PRIVATE KEY"))
            }
            #expect(log.all.count == 1)
        }
        try await server.stop()
    }

    @Test func noKeyIsQuoted() async throws {
        let keys = try TestKeys.shared.get()
        let good = try String(contentsOfFile: keys.pkcs8[0], encoding: .utf8)
        for (file, complaint) in [
            (keys.encrypted, "is encrypted"), (keys.elliptic, "no RSA key"), (keys.short, "at least 2048 bits"),
            (try keys.file(""), "no private key in PEM form"), (try keys.file("hush"), "no private key in PEM form"),
            (try keys.file(keys.publicKeys[0]), "a certificate or public key"),
            (try keys.file(String(good.prefix(400))), "ends before its key does"),
            (try keys.file(good.replacing("MII", with: "MIJ")), "no RSA key"),
            (keys.folder.path(), "is not a regular file"), (keys.folder.path() + "none", "cannot be read"),
        ] {
            try await withTokens("http://127.0.0.1:1/t", keys: [file]) { tokens in
                let text = await tokens.get().complaint
                #expect(text.contains(complaint), "\(text)")
                #expect(text.contains(file))
                #expect(!text.contains("hush") && !text.contains("MII"))
            }
        }
        // What stands around a key does not matter.
        let wrapped = try keys.file("Bag Attributes\n  x: y\n" + good + "-----BEGIN CERTIFICATE-----\n")
        let server = try await ScriptedServer()
        try await withTokens(server.tokenURL, keys: [wrapped]) { tokens in
            async let token = tokens.get().token
            await server.answerToken("200 OK", grant())
            #expect(await token != nil)
        }
        try await server.stop()
    }

    @Test func settingsThatCannotBe() throws {
        func make(_ url: String, keys: [String] = ["k"], caFile: String? = nil) throws {
            var settings = OAuthSettings(orgs: [
                oauthOrg: OAuthCredentials(
                    tokenURL: url, clientID: "hush", username: "u", audience: "a", keyFiles: keys)
            ])
            settings.extraCAFile = caFile
            _ = try OAuthTokens(settings, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: quiet)
            var dumped = ""
            dump(settings, to: &dumped)
            #expect(!dumped.contains("hush"))
        }
        try make("https://login.salesforce.com/services/oauth2/token")
        #expect(throws: InteractionSettingsError.self) { try make("http://login.salesforce.com/t") }
        #expect(throws: InteractionSettingsError.self) { try make("ftp://login.salesforce.com/t") }
        #expect(throws: InteractionSettingsError.self) { try make("https://x.test/t", keys: []) }
        #expect(throws: InteractionSettingsError.self) { try make("https://x.test/t", caFile: "/dev/null") }
    }
}
