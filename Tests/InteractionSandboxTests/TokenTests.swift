// The token endpoint, and what tokens are good for afterwards.

import CryptoExtras
import Foundation
import InteractionSandbox
import RoutingContract
import Testing

/// Makes the assertions of a partner's app.
private struct Signer {
    let key: _RSA.Signing.PrivateKey

    init() throws {
        key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
    }

    func assertion(
        header: String = #"{"alg":"RS256"}"#, issuer: String? = "consumer-key",
        subject: String? = "user@00DSB0000000001.test",
        audience: Any? = "https://login.salesforce.com", expiry: Double? = Date().timeIntervalSince1970 + 120
    ) throws -> String {
        var claims: [String: Any] = [:]
        claims["iss"] = issuer
        claims["sub"] = subject
        claims["aud"] = audience
        claims["exp"] = expiry
        let payload = try JSONSerialization.data(withJSONObject: claims, options: .withoutEscapingSlashes)
        let text = base64URL(Data(header.utf8)) + "." + base64URL(payload)
        let signature = try key.signature(for: Data(text.utf8), padding: .insecurePKCS1v1_5)
        return text + "." + base64URL(signature.rawRepresentation)
    }

    private func base64URL(_ data: Data) -> String {
        String(data.base64EncodedString().compactMap { $0 == "+" ? "-" : $0 == "/" ? "_" : $0 == "=" ? nil : $0 })
    }
}

extension SandboxClient {
    fileprivate func token(
        _ assertion: String?, grantType: String? = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    ) async throws -> Answer {
        var fields: [String] = []
        if let grantType { fields.append("grant_type=" + grantType.replacingOccurrences(of: ":", with: "%3A")) }
        if let assertion { fields.append("assertion=" + assertion) }
        return try await send(
            "POST", "/services/oauth2/token", headers: ["Content-Type": "application/x-www-form-urlencoded"],
            body: fields.joined(separator: "&"))
    }

    fileprivate func call(token: Any?, org: String = Self.org) async throws -> Answer {
        try await call(headers: ["Authorization": "Bearer \(token ?? "")", "OrgId": org])
    }
}

@Suite struct TokenTests {
    @Test func issuesRevokesAndExpires() async throws {
        let signer = try Signer()
        var settings = SandboxSettings()
        settings.acceptsAnyToken = false
        settings.fixedTokens = ["fixed"]
        try await Sandbox.withRunning(settings: settings, logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let issued = try await client.token(try signer.assertion())
            #expect(issued.status == 200, "\(issued.text)")
            let token = try #require(issued.object["access_token"] as? String)
            #expect(token.hasPrefix("00DSB0000000001!"))
            #expect(issued.object["token_type"] as? String == "Bearer")
            #expect((issued.object["scope"] as? String)?.contains("interaction_api") == true)
            #expect(issued.object["expires_in"] == nil)

            #expect(try await client.call(token: token).status == 202)
            #expect(try await client.call(token: token, org: "00DSB0000000002").code == 10005)
            #expect(try await client.call(token: "made-up").code == 10004)
            #expect(try await client.call(token: "fixed").status == 202)

            let revoked = try await client.send("DELETE", "/sandbox/tokens?org=00DSB0000000001")
            #expect(revoked.object["revoked"] as? Int == 1)
            let refused = try await client.call(token: token)
            #expect(refused.status == 401 && refused.code == 10004)
            #expect(try await client.call(token: "fixed").status == 202)
            #expect(try await client.send("DELETE", "/sandbox/tokens?token=fixed").status == 200)
            #expect(try await client.call(token: "fixed").code == 10004)
            #expect(sandbox.summary().tokens.issued == 1)
        }
        settings.tokenLifetime = .zero
        settings.acceptsAnyToken = true
        try await Sandbox.withRunning(settings: settings, logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let issued = try await client.token(try signer.assertion())
            #expect(try await client.call(token: issued.object["access_token"]).code == 10004)
            #expect(try await client.call(token: "made-up").status == 202)
        }
    }

    @Test func refusesAsSalesforceDoes() async throws {
        let signer = try Signer()
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            func expect(_ error: String, _ answer: Answer, line: Int = #line) {
                #expect(answer.status == 400, "line \(line)")
                #expect(answer.object["error"] as? String == error, "line \(line): \(answer.text)")
                #expect((answer.object["error_description"] as? String)?.isEmpty == false)
            }
            let now = Date().timeIntervalSince1970
            expect("unsupported_grant_type", try await client.token(try signer.assertion(), grantType: "password"))
            expect("invalid_request", try await client.token(try signer.assertion(), grantType: nil))
            expect("invalid_grant", try await client.token(nil))
            expect("invalid_grant", try await client.token("a.b"))
            expect("invalid_grant", try await client.token("e30.e30.e30"))
            expect("invalid_grant", try await client.token(try signer.assertion(header: #"{"alg":"none"}"#)))
            expect("invalid_client", try await client.token(try signer.assertion(issuer: nil)))
            expect("invalid_grant", try await client.token(try signer.assertion(subject: nil)))
            expect("invalid_grant", try await client.token(try signer.assertion(audience: nil)))
            expect(
                "invalid_grant",
                try await client.token(try signer.assertion(audience: "https://salesforce.com.evil.test")))
            for list in [[], ["https://login.salesforce.com", "https://test.salesforce.com"], [["x"]]] as [[Any]] {
                expect("invalid_grant", try await client.token(try signer.assertion(audience: list)))
            }
            let listed = try signer.assertion(audience: ["https://test.salesforce.com"])
            #expect(try await client.token(listed).status == 200)
            expect("invalid_grant", try await client.token(try signer.assertion(expiry: nil)))
            expect("invalid_grant", try await client.token(try signer.assertion(expiry: now - 60)))
            expect("invalid_grant", try await client.token(try signer.assertion(expiry: now + 3600)))
            let milliseconds = try await client.token(try signer.assertion(expiry: (now + 120) * 1000))
            expect("invalid_grant", milliseconds)
            #expect((milliseconds.object["error_description"] as? String)?.contains("milliseconds") == true)
            #expect(sandbox.summary().tokens.refused == 17)
            #expect(sandbox.summary().tokens.issued == 1)
        }
    }

    @Test func verifiesSignaturesWhereItKnowsTheKey() async throws {
        let signer = try Signer()
        let stranger = try Signer()
        var settings = SandboxSettings()
        settings.acceptsAnyToken = false
        settings.orgs = [
            SandboxOrg(
                id: "00DSB0000000007", consumerKey: "key-7", username: "seven@example.test",
                publicKeys: [signer.key.publicKey.pemRepresentation]),
            SandboxOrg(id: "00DSB0000000008", consumerKey: "key-8", hasScope: false),
        ]
        try await Sandbox.withRunning(settings: settings, logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let issued = try await client.token(
                try signer.assertion(issuer: "key-7", subject: "seven@example.test"))
            #expect(issued.status == 200, "\(issued.text)")
            #expect(try await client.call(token: issued.object["access_token"], org: "00DSB0000000007").status == 202)
            let foreign = try await client.token(
                try stranger.assertion(issuer: "key-7", subject: "seven@example.test"))
            #expect(foreign.object["error"] as? String == "invalid_grant")
            let unapproved = try await client.token(try signer.assertion(issuer: "key-7", subject: "eve@example.test"))
            #expect(unapproved.object["error"] as? String == "invalid_grant")

            let scopeless = try await client.token(try stranger.assertion(issuer: "key-8"))
            #expect(scopeless.status == 200)
            let refused = try await client.call(token: scopeless.object["access_token"], org: "00DSB0000000008")
            #expect(refused.status == 403 && refused.code == 10003)
        }
    }

    @Test func faultsMeetTheTokenEndpointToo() async throws {
        let signer = try Signer()
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            _ = try await client.fault(#"{"action":"status","status":503,"next":1,"match":{"endpoint":"token"}}"#)
            _ = try await client.fault(#"{"action":"reset","next":1,"match":{"endpoint":"token"}}"#)
            _ = try await client.fault(
                #"{"action":"slow-body","byteIntervalMs":0,"next":1,"match":{"endpoint":"token"}}"#)
            #expect(try await client.call().status == 202)
            #expect(try await client.token(try signer.assertion()).status == 503)
            await #expect(throws: (any Error).self) { try await client.token(try signer.assertion()) }
            #expect(try await client.token(try signer.assertion()).status == 200)
            #expect(sandbox.summary().tokens.issued == 1)
        }
    }

    @Test func refusesSettingsThatCannotBe() {
        var settings = SandboxSettings()
        settings.orgs = [SandboxOrg(id: "nonsense")]
        #expect(throws: InvalidSandboxSettings.self) { try Sandbox(settings: settings) }
        settings.orgs = [SandboxOrg(id: "00DSB0000000001"), SandboxOrg(id: "00DSB0000000001")]
        #expect(throws: InvalidSandboxSettings.self) { try Sandbox(settings: settings) }
        settings.orgs = [SandboxOrg(id: "00DSB0000000001", publicKeys: ["-----BEGIN NOTHING-----"])]
        #expect(throws: InvalidSandboxSettings.self) { try Sandbox(settings: settings) }
        settings.orgs = []
        settings.faults = [Fault(.latency)]
        #expect(throws: InvalidFault.self) { try Sandbox(settings: settings) }
        settings.faults = []
        settings.port = 65_536
        #expect(throws: InvalidSandboxSettings.self) { try Sandbox(settings: settings) }
    }

    @Test func readsOrgs() throws {
        let orgs = try SandboxOrg.parse(
            #"[{"id": "00DSB0000000001", "queues": ["00GSB0000000001"], "readOnly": true}, {"id": "00DSB0000000002"}]"#)
        #expect(
            orgs == [
                SandboxOrg(id: "00DSB0000000001", queues: ["00GSB0000000001"], isReadOnly: true),
                SandboxOrg(id: "00DSB0000000002"),
            ])
    }

    @Test(arguments: [
        (#"[{"id": "00DSB0000000001", "readonly": true}]"#, "Index 0: readonly is unknown; known are id"),
        (#"[{"id": "00DSB0000000001", "readOnly": "no"}]"#, "Index 0: readOnly: "), ("[{}]", "Index 0: id is missing"),
        (#"[{"id": "a", "id": "b"}]"#, "not valid JSON: a key stands twice"), ("{}", "Expected"),
        ("", "not valid JSON"),
    ])
    func saysWhatIsWrongWithOrgs(text: String, words: String) {
        let problem = #expect(throws: InvalidSandboxSettings.self) { try SandboxOrg.parse(text) }
        #expect(problem?.description.hasPrefix(words) == true, "\(problem?.description ?? "nothing")")
    }
}
