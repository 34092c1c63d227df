// Access tokens: issued for assertions (RFC 7523), judged on every call, revoked on demand.

import RoutingContract

/// A refusal of the token endpoint (RFC 6749 §5.2).
struct OAuthRefusal: Error, Hashable, Sendable {
    var error: String
    var description: String
}

struct TokenDesk: Sendable {
    enum Verdict: Sendable, Hashable { case accepted, invalid, ofAnotherOrg, withoutScope }

    struct Grant: Sendable, Hashable {
        var token: String
        var org: OrgID
        var scope: String
    }

    private struct Known: Sendable {
        /// `nil` for a token that was not issued here.
        var org: OrgID?
        var expiresAt: Timestamp
        var hasScope = true
        var isRevoked = false
    }

    /// Tokens remembered; the oldest are forgotten first.
    private static let limit = 100_000
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._".utf8)

    private let settings: SandboxSettings
    private var known: [String: Known] = [:]
    private var order = Ring<String>(limit: limit)
    private(set) var issuedCount = 0
    private(set) var refusedCount = 0
    private(set) var revokedCount = 0

    init(settings: SandboxSettings) {
        self.settings = settings
    }

    /// Answers a token request.
    mutating func issue(
        form: [String: String], orgs: OrgBook, now: Timestamp, using generator: inout some RandomNumberGenerator
    ) throws(OAuthRefusal) -> Grant {
        do throws(OAuthRefusal) {
            let org = try Assertion.org(ofForm: form, orgs: orgs, settings: settings, now: now)
            let hasScope = orgs[org]?.hasScope ?? true
            let opaque = (0..<96).map { _ in Self.alphabet.randomElement(using: &generator) ?? UInt8(ascii: "A") }
            let token = "\(org)!\(String(decoding: opaque, as: UTF8.self))"
            remember(token, Known(org: org, expiresAt: now + settings.tokenLifetime, hasScope: hasScope))
            issuedCount += 1
            return Grant(token: token, org: org, scope: hasScope ? "interaction_api api refresh_token" : "api")
        } catch {
            refusedCount += 1
            throw error
        }
    }

    private mutating func remember(_ token: String, _ entry: Known) {
        if known.updateValue(entry, forKey: token) == nil, let forgotten = order.append(token) {
            known[forgotten] = nil
        }
    }

    func judge(_ token: String, org: OrgID, now: Timestamp) -> Verdict {
        if let entry = known[token] {
            guard !entry.isRevoked, now < entry.expiresAt else { return .invalid }
            guard entry.org == org else { return .ofAnotherOrg }
            return entry.hasScope ? .accepted : .withoutScope
        }
        return settings.acceptsAnyToken || settings.fixedTokens.contains(token) ? .accepted : .invalid
    }

    /// Revokes one token, issued here or not.
    mutating func revoke(token: String) {
        var entry = known[token] ?? Known(expiresAt: Timestamp(milliseconds: .max))
        if !entry.isRevoked { revokedCount += 1 }
        entry.isRevoked = true
        remember(token, entry)
    }

    /// Revokes the tokens issued for an org, or all issued and fixed ones. Returns how many.
    mutating func revokeAll(org: OrgID?) -> Int {
        let before = revokedCount
        for (token, entry) in known where org == nil || entry.org == org {
            if !entry.isRevoked { revoke(token: token) }
        }
        if org == nil {
            for token in settings.fixedTokens { revoke(token: token) }
        }
        return revokedCount - before
    }
}
