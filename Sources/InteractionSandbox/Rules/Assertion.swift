// The JWT of a token request (RFC 7523 §3), judged as Salesforce judges it.

import Foundation
import RoutingContract

enum Assertion {
    static let grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    private static let clockSkew = 30.0

    /// The org that a token request is for.
    static func org(
        ofForm form: [String: String], orgs: OrgBook, settings: SandboxSettings, now: Timestamp
    ) throws(OAuthRefusal) -> OrgID {
        guard let grantType = form["grant_type"] else {
            throw OAuthRefusal(error: "invalid_request", description: "grant_type is missing")
        }
        guard grantType == Self.grantType else {
            throw OAuthRefusal(error: "unsupported_grant_type", description: "grant type not supported: \(grantType)")
        }
        let parts = (form["assertion"] ?? "").split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = object(parts[0]), let claims = object(parts[1]),
            let signature = Base64.decodeURL(parts[2]), !signature.isEmpty
        else { throw invalid("the assertion is not a JWT of three base64url parts") }
        guard header["alg"]?.string == "RS256" else { throw invalid("alg must be RS256") }
        guard let issuer = claims["iss"]?.string, !issuer.isEmpty else {
            throw OAuthRefusal(error: "invalid_client", description: "iss must be the consumer key")
        }
        guard let subject = claims["sub"]?.string, !subject.isEmpty else {
            throw invalid("sub must be the username")
        }
        try checkAudience(claims["aud"], settings: settings)
        try checkExpiry(claims["exp"], settings: settings, now: now)
        let org = try org(issuer: issuer, subject: subject, orgs: orgs, settings: settings)
        guard orgs.accepts(signature: signature, of: Array("\(parts[0]).\(parts[1])".utf8), org: org) else {
            throw invalid("the signature does not fit the certificate of the app")
        }
        return org
    }

    private static func invalid(_ description: String) -> OAuthRefusal {
        OAuthRefusal(error: "invalid_grant", description: description)
    }

    private static func checkAudience(_ value: JSONValue?, settings: SandboxSettings) throws(OAuthRefusal) {
        var audience = value?.string
        if let value, value.kind == .array {
            // A list of one audience is as good as that audience (RFC 7519 §4.1.3): what it encloses is one value.
            audience = try? JSONScanner().scan(Array(value.bytes.dropFirst().dropLast())).root.string
        }
        guard let audience else { throw invalid("aud is missing") }
        let host = URL(string: audience).flatMap { $0.scheme == "https" ? $0.host() : nil } ?? ""
        guard settings.audiences.contains(audience) || host.hasSuffix(".salesforce.com") else {
            throw invalid("audience is invalid: aud must be a login URL, https://login.salesforce.com for one")
        }
    }

    private static func checkExpiry(
        _ value: JSONValue?, settings: SandboxSettings, now: Timestamp
    ) throws(OAuthRefusal) {
        guard let value, value.kind == .number, let expiry = Double(String(decoding: value.bytes, as: UTF8.self)) else {
            throw invalid("exp must be a number")
        }
        let seconds = Double(now.milliseconds) / 1000
        guard expiry < seconds * 100 else { throw invalid("exp must be in seconds, and looks like milliseconds") }
        guard expiry > seconds - clockSkew else { throw invalid("the assertion has expired") }
        let horizon = Double(settings.assertionHorizon.wholeMilliseconds) / 1000
        guard expiry <= seconds + horizon + clockSkew else {
            throw invalid("exp lies too far ahead: \(Int(horizon)) s at most")
        }
    }

    private static func org(
        issuer: String, subject: String, orgs: OrgBook, settings: SandboxSettings
    ) throws(OAuthRefusal) -> OrgID {
        if let org = orgs.id(where: { $0.consumerKey == issuer && ($0.username ?? subject) == subject }) { return org }
        guard orgs.id(where: { $0.consumerKey == issuer }) == nil else {
            throw invalid("user hasn't approved this consumer")
        }
        guard settings.acceptsAnyOrg else {
            throw OAuthRefusal(error: "invalid_client", description: "client identifier invalid")
        }
        return orgID(in: subject) ?? orgID(in: issuer) ?? standIn(for: issuer)
    }

    /// The first org id that stands in a text, so that an invented username can say its org.
    private static func orgID(in text: String) -> OrgID? {
        for word in text.split(whereSeparator: { !$0.isLetter && !$0.isNumber }) {
            if let id = OrgID(word) { return id }
        }
        return nil
    }

    /// An org id that an unknown consumer key always gets again (FNV-1a).
    private static func standIn(for issuer: String) -> OrgID {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in issuer.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let id = SalesforceID.make(prefix: SalesforceID.org, number: hash % 1_000_000_000_000)
        guard let org = OrgID(id) else { preconditionFailure("a made id is well-formed") }
        return org
    }

    private static func object(_ part: Substring) -> JSONValue? {
        guard let bytes = Base64.decodeURL(part), let root = try? JSONScanner().scan(bytes).root else { return nil }
        return root.kind == .object ? root : nil
    }
}
