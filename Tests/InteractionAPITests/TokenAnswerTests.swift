// What the token endpoint's answers mean: lifetimes, and refusals in the terms of Setup.

import Foundation
import RoutingContract
import Testing

@testable import InteractionAPI

private let now = Timestamp(milliseconds: 1_700_000_000_000)

private func jwt(_ claims: String) -> String {
    let part = Data(claims.utf8).base64EncodedString().prefix { $0 != "=" }
    return "e30.\(part.replacing("+", with: "-").replacing("/", with: "_")).c2ln"
}

@Suite struct TokenAnswerTests {
    @Test(arguments: [
        (jwt(#"{"exp":1700000600}"#), "", Duration.seconds(600)),
        (jwt(#"{"exp":1700000600.5}"#), "", .milliseconds(600_500)),
        // From issue to end, whatever this machine's clock says.
        (jwt(#"{"iat":1600000000,"exp":1600000600}"#), "", .seconds(600)),
        ("opaque", #","expires_in":60"#, .seconds(60)),
        (jwt(#"{"exp":1700000600}"#), #","expires_in":60"#, .seconds(60)),
        // None that can be believed.
        ("opaque", "", nil), ("opaque", #","expires_in":-1"#, nil), ("a.b.c", "", nil), ("a.!!.c", "", nil),
        (jwt(#"{"exp":1600000000}"#), "", nil), (jwt(#"{"exp":"soon"}"#), "", nil), (jwt("[]"), "", nil),
        (jwt(#"{"exp":1700000600000}"#), "", nil), (jwt(#"{"exp":1e400}"#), "", nil),
    ])
    func lifetimes(token: String, more: String, lifetime: Duration?) throws {
        let body = grant(token).dropLast() + more + "}"
        let answer = TokenAnswer(status: 200, body: Array(body.utf8))
        guard case .granted(let granted) = answer.meaning(for: oauthOrg, now: now) else {
            Issue.record("no token: \(answer.meaning(for: oauthOrg, now: now))")
            return
        }
        #expect(granted.lifetime == lifetime)
    }

    /// Error, description, what is said, and whether another key is tried.
    @Test(arguments: [
        ("invalid_grant", "user hasn't approved this consumer", "pre-authorised", true),
        ("invalid_app_access", "user is not admin approved to access this app", "pre-authorised", false),
        ("invalid_client_id", "client identifier invalid", "consumer key is not known", false),
        ("invalid_client", "client identifier invalid", "consumer key is not known", false),
        ("invalid_client", "invalid client credentials", "upload the certificate", true),
        ("invalid_grant", "invalid assertion", "upload the certificate", true),
        ("invalid_grant", "audience is invalid", "set audience", true),
        ("invalid_grant", "expired authorization code", "clock", true),
        ("inactive_user", "user is inactive", "activate or unfreeze", false),
        ("inactive_org", "organization is inactive", "not active", false),
        ("invalid_grant", "ip restricted or invalid login hours", "relax IP restrictions", true),
        ("invalid_scope", "the requested scope is not allowed", "interaction_api", false),
        ("unsupported_grant_type", "grant type not supported", "check tokenURL", false),
        ("invalid_request", "login rate exceeded", "too many logins", false),
        ("something", "else", "check clientId", false), ("something", "", "check clientId", false),
    ])
    func refusals(error: String, said: String, complaint: String, anotherKeyMayHelp: Bool) {
        let answer = TokenAnswer(
            status: 400, body: Array(#"{"error":"\#(error)","error_description":"\#(said)"}"#.utf8))
        guard case .refused(let trouble, let tries) = answer.meaning(for: oauthOrg, now: now) else {
            Issue.record("a token")
            return
        }
        #expect(trouble.failure.description.contains(complaint), "\(trouble.failure)")
        #expect(trouble.failure.description.contains(error))
        #expect(trouble.isRefusal)
        #expect(tries == anotherKeyMayHelp)
    }

    /// A small difference of the clocks is nothing to speak of.
    @Test func clockSkew() {
        for (date, text) in [
            ("Tue, 14 Nov 2023 22:13:20 GMT", nil), ("Tue, 14 Nov 2023 22:13:40 GMT", nil),
            ("Tue, 14 Nov 2023 22:15:20 GMT", "120 s behind"), ("Tue, 14 Nov 2023 22:12:20 GMT", "60 s ahead of"),
            ("nonsense", nil),
        ] {
            let answer = TokenAnswer(status: 400, body: Array(#"{"error":"invalid_grant"}"#.utf8), date: date)
            guard case .refused(let trouble, _) = answer.meaning(for: oauthOrg, now: now) else {
                Issue.record("a token")
                return
            }
            let said = trouble.failure.description
            #expect(text.map { said.contains($0) } ?? !said.contains("clock is"), "\(date): \(said)")
        }
    }

    @Test func askedToWait() {
        let answer = TokenAnswer(status: 503, body: [], retryAfter: "100000")
        guard case .refused(let trouble, anotherKeyMayHelp: false) = answer.meaning(for: oauthOrg, now: now) else {
            Issue.record("a token")
            return
        }
        #expect(!trouble.isRefusal)
        #expect(trouble.retryAfter == .seconds(300))
    }
}
