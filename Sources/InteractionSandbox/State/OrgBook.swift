// The orgs with ways of their own, by id, and their public keys.

import CryptoExtras
import RoutingContract

struct OrgBook: Sendable {
    private var byID: [OrgID: SandboxOrg] = [:]
    private var keys: [OrgID: [_RSA.Signing.PublicKey]] = [:]

    init(_ orgs: [SandboxOrg]) throws(InvalidSandboxSettings) {
        for org in orgs {
            guard let id = OrgID(org.id), SalesforceID.isValid(org.id, prefix: SalesforceID.org) else {
                throw InvalidSandboxSettings(description: "\(org.id) is no org id")
            }
            guard byID.updateValue(org, forKey: id) == nil else {
                throw InvalidSandboxSettings(description: "the org \(id) is listed twice")
            }
            for pem in org.publicKeys {
                guard let key = try? _RSA.Signing.PublicKey(pemRepresentation: pem) else {
                    throw InvalidSandboxSettings(description: "a public key of the org \(id) is no RSA key in PEM")
                }
                keys[id, default: []].append(key)
            }
        }
    }

    subscript(id: OrgID) -> SandboxOrg? { byID[id] }

    func id(where fits: (SandboxOrg) -> Bool) -> OrgID? {
        byID.first { fits($0.value) }?.key
    }

    /// Whether one of the org's keys made this RS256 signature (RFC 7518 §3.3); any signature will do where it has none.
    func accepts(signature: [UInt8], of text: [UInt8], org: OrgID) -> Bool {
        guard let keys = keys[org] else { return true }
        let signature = _RSA.Signing.RSASignature(rawRepresentation: signature)
        return keys.contains { $0.isValidSignature(signature, for: text, padding: .insecurePKCS1v1_5) }
    }
}
