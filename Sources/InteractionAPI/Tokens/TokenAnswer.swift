// What the token endpoint's answer means. Pure.

import RoutingContract

/// A token with what its answer says of it.
struct GrantedToken: Sendable, Hashable {
    var token: AccessToken
    /// `nil` where nothing says it: Salesforce's opaque tokens live as long as the org's session policy lets them.
    var lifetime: Duration?
    /// Why the keys before the one that served did not.
    var passedOver: [TokenFailure] = []
}

/// An answer of the token endpoint, bounded in size.
struct TokenAnswer: Sendable {
    var status: Int
    var body: [UInt8]
    var retryAfter: String?
    /// The `Date` header: tells how far the clocks are apart.
    var date: String?

    enum Meaning: Sendable, Hashable {
        case granted(GrantedToken)
        /// - Parameter anotherKeyMayHelp: the assertion was refused, perhaps for its signature.
        case refused(TokenTrouble, anotherKeyMayHelp: Bool)
    }

    private static let scanner = JSONScanner(maximumDepth: 16)

    func meaning(for org: OrgID, now: Timestamp) -> Meaning {
        func refused(_ text: String, isRefusal: Bool = true) -> Meaning {
            .refused(
                TokenTrouble(
                    failure: TokenFailure(text), isRefusal: isRefusal,
                    retryAfter: retryAfter.flatMap { RetryAfter.parse($0, now: now) }),
                anotherKeyMayHelp: false)
        }
        let root = (try? Self.scanner.scan(body))?.root
        switch status {
        case 200..<300:
            guard let root, root.kind == .object, let text = root["access_token"]?.string else {
                return refused("the token endpoint answered HTTP \(status) without an access token")
            }
            return granted(text, root, org: org, now: now, refused: { refused($0) })
        case 300..<400:
            return refused(
                "the token endpoint redirects (HTTP \(status)), which is not followed: name the final address in "
                    + "tokenURL, usually https://MyDomain.my.salesforce.com/services/oauth2/token")
        case 429, 500...:
            return refused("the token endpoint is not available (HTTP \(status))", isRefusal: false)
        default:
            guard let error = root?["error"]?.string else {
                return refused(
                    "the token endpoint answered HTTP \(status) without saying why: check tokenURL, usually "
                        + "https://MyDomain.my.salesforce.com/services/oauth2/token")
            }
            let refusal = TokenRefusal(error: error, said: root?["error_description"]?.string ?? "")
            let trouble = TokenTrouble(
                failure: TokenFailure(refusal.explanation(clockSkew: clockSkew(now))), isRefusal: true)
            return .refused(trouble, anotherKeyMayHelp: refusal.anotherKeyMayHelp)
        }
    }

    private func granted(
        _ text: String, _ root: JSONValue, org: OrgID, now: Timestamp, refused: (String) -> Meaning
    ) -> Meaning {
        if let type = root["token_type"]?.string, type.lowercased() != "bearer" {
            return refused("the token endpoint gave a token that is no bearer token")
        }
        guard let token = AccessToken(text) else {
            return refused("the token endpoint gave a token that cannot be a header")
        }
        // Salesforce names the org twice; one is enough, and none may be another org.
        let named = [token.org, root["id"]?.string.flatMap(Self.orgOfIdentity)].compactMap { $0 }
        guard !named.isEmpty else {
            return refused("the token endpoint's answer does not say which org its token is for")
        }
        if let other = named.first(where: { $0 != org }) {
            return refused(
                "the token endpoint gave a token of org \(other), and not of org \(org): clientId, username and tokenURL "
                    + "must be those of the org")
        }
        let lifetimes = [Self.lifetime(ofJWT: text, now: now), root["expires_in"]?.integer.map { .seconds($0) }]
        return .granted(GrantedToken(token: token, lifetime: lifetimes.compactMap { $0 }.filter { $0 > .zero }.min()))
    }

    /// The org of an identity URL, `https://login.salesforce.com/id/{orgId}/{userId}`.
    private static func orgOfIdentity(_ url: String) -> OrgID? {
        let parts = url.split(separator: "/")
        return parts.lastIndex(of: "id").flatMap { $0 + 1 < parts.count ? OrgID(parts[$0 + 1]) : nil }
    }

    /// How long a JWT (RFC 7519) lives from now on; from `iat` to `exp` where it has both, so that clocks that are apart
    /// do not count.
    private static func lifetime(ofJWT token: String, now: Timestamp) -> Duration? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let claims = claims(parts[1]), let expiry = seconds(claims["exp"]) else { return nil }
        let start = seconds(claims["iat"]) ?? Double(now.milliseconds) / 1000
        let lifetime = expiry - start
        // A year is far beyond every session policy: such an `exp` is something else.
        return 0 < lifetime && lifetime < 366 * 86_400 ? .seconds(lifetime) : nil
    }

    private static func claims(_ part: Substring) -> JSONValue? {
        Base64.decodeURL(part).flatMap { try? scanner.scan($0) }?.root
    }

    private static func seconds(_ value: JSONValue?) -> Double? {
        guard let value, value.kind == .number else { return nil }
        return Double(String(decoding: value.bytes, as: UTF8.self))
    }

    /// How far this machine's clock is ahead of the endpoint's.
    private func clockSkew(_ now: Timestamp) -> Duration? {
        date.flatMap { RetryAfter.date($0.trimmed, now: now) }.map { now - $0 }
    }
}

/// An error of the token endpoint (RFC 6749 §5.2), in the terms of Salesforce Setup.
///
/// The descriptions that Salesforce gives are not documented: those met in public reports are looked for, and whatever
/// it says stands behind our own words.
struct TokenRefusal: Sendable, Hashable {
    var error: String
    var said: String

    /// A wrong certificate shows as `invalid_grant`, or as `invalid_client` with "invalid client credentials".
    var anotherKeyMayHelp: Bool {
        error == "invalid_grant" || error == "invalid_client" && said.lowercased().contains("credentials")
    }

    /// - Parameter clockSkew: how far this machine's clock is ahead of the endpoint's, where that is known.
    func explanation(clockSkew: Duration?) -> String {
        var text = "no access token: \(cause)"
        if let clockSkew, clockSkew > .seconds(30) || clockSkew < .seconds(-30) {
            let seconds = Int(clockSkew / .seconds(1))
            text += ". This machine's clock is \(abs(seconds)) s \(seconds > 0 ? "ahead of" : "behind") the endpoint's"
        }
        let answer = said.isEmpty ? error : "\(error): \(said)"
        return AnswerClassifier.message(text, said: Self.withoutSecrets(answer))
    }

    private var cause: String {
        let said = said.lowercased()
        let code = error.lowercased()
        func says(_ words: String...) -> Bool { words.contains { said.contains($0) || code.contains($0) } }
        if says("approved", "invalid_app_access") {
            return "the user is not pre-authorised for the app. To do: in the app's OAuth policies let admin-approved "
                + "users be pre-authorised, and give the app to the user's profile or permission set"
        }
        if says("audience") {
            return
                "the audience does not fit the org. To do: set audience to https://login.salesforce.com, for a sandbox "
                + "to https://test.salesforce.com, or to the org's My Domain"
        }
        if says("expired", "expiration", "exp must", "exp lies") {
            return "the assertion counts as expired. To do: set this machine's clock (NTP)"
        }
        if says("identifier", "client_id") {
            return
                "the consumer key is not known there. To do: compare clientId with the app's consumer key, and tokenURL "
                + "with the org (sandboxes have their own); a new app takes some ten minutes"
        }
        if says("credentials", "signature", "assertion", "certificate") {
            return
                "the assertion was not accepted. To do: upload the certificate of the first key file to the app (Use "
                + "digital signatures); check that clientId and username belong to this org"
        }
        if says("inactive", "locked", "frozen") {
            return "the user or the org is not active. To do: Setup › Users: activate or unfreeze the user"
        }
        if says("ip restricted", "ip address", "ip range") {
            return
                "this machine's address is not allowed. To do: in the app's OAuth policies relax IP restrictions, or add "
                + "the address to the login IP ranges of the user's profile"
        }
        if says("rate limit", "rate_limit", "rate exceeded", "too many") {
            return "too many logins of the user. To do: wait, and use fewer workers per user"
        }
        switch code {
        case "invalid_scope":
            return "a scope is missing. To do: give the app the OAuth scopes interaction_api and refresh_token"
        case "unsupported_grant_type", "invalid_request":
            return "the endpoint does not take the JWT bearer flow. To do: check tokenURL"
        case "invalid_client":
            return "the app is not accepted. To do: compare clientId with the app's consumer key"
        default:
            return
                "the request was refused. To do: check clientId, username, the app's certificate and its OAuth policies"
        }
    }

    /// Long words are what a hostile or chatty endpoint could repeat of an assertion or a token.
    static func withoutSecrets(_ text: String) -> String {
        text.prefix(2000).split(separator: " ").map { $0.utf8.count > 40 ? "…" : String($0) }.joined(separator: " ")
    }
}
