// The assertion of the JWT bearer flow (RFC 7523 §3): claims signed by a key from a file.

import JWTKit
import RoutingContract

/// What an assertion says.
struct Assertion: JWTPayload, Sendable, Hashable {
    /// How far ahead `exp` lies: Salesforce takes a few minutes at most.
    static let lifetime: Duration = .seconds(180)

    /// The consumer key.
    var iss: String
    /// The username.
    var sub: String
    var aud: String
    /// Seconds since 1970, whole (RFC 7519 §2 allows fractions, not everybody reads them).
    var exp: Int

    init(_ credentials: OAuthCredentials, now: Timestamp) {
        iss = credentials.clientID
        sub = credentials.username
        aud = credentials.audience
        exp = Int((now + Self.lifetime).milliseconds / 1000)
    }

    /// Nothing of what we sign ourselves is verified.
    func verify(using algorithm: some JWTAlgorithm) async throws {}

    /// Signs (RS256) with the private key in a file, off the caller's event loop: it takes a millisecond or two.
    @concurrent func signed(withKeyIn file: String) async -> Result<String, TokenFailure> {
        switch SecretFile.readIfChanged(file, called: "key file", since: nil) {
        case .failure(let failure):
            return .failure(failure)
        case .success(nil):
            preconditionFailure("a file whose state is not known is always read")
        case .success(let (text, _)?):
            switch PrivateKeyPEM.find(in: text) {
            case .failure(let fault):
                return .failure(TokenFailure("the key file \(file) \(fault.description)"))
            case .success(let pem):
                return await signed(with: pem, file: file)
            }
        }
    }

    private func signed(with pem: String, file: String) async -> Result<String, TokenFailure> {
        do {
            // The errors of the key's parser are left out: they could quote it.
            guard let key = try? Insecure.RSA.PrivateKey(pem: pem) else {
                return .failure(TokenFailure("the key file \(file) holds no RSA key of at least 2048 bits"))
            }
            let keys = JWTKeyCollection()
            await keys.add(rsa: key, digestAlgorithm: .sha256)
            return .success(try await keys.sign(self))
        } catch {
            return .failure(TokenFailure("the key in \(file) cannot sign"))
        }
    }
}

/// Finds the private key among what a PEM file (RFC 7468) can hold.
enum PrivateKeyPEM {
    /// Why there is none; a phrase that follows the file's name.
    struct Fault: Error, Hashable, CustomStringConvertible {
        var description: String
    }

    /// The first PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`) block, without what stands around it.
    static func find(in text: String) -> Result<String, Fault> {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY"] {
            let (begin, end) = ("-----BEGIN \(label)-----", "-----END \(label)-----")
            guard let start = text.firstRange(of: begin) else { continue }
            guard let stop = text[start.upperBound...].firstRange(of: end) else {
                return .failure(Fault(description: "ends before its key does"))
            }
            let block = text[start.lowerBound..<stop.upperBound]
            // OpenSSL's own form of encryption keeps the label.
            guard !block.contains("Proc-Type:") else { return .failure(isEncrypted) }
            return .success(String(block) + "\n")
        }
        if text.contains("ENCRYPTED PRIVATE KEY-----") { return .failure(isEncrypted) }
        if text.contains("-----BEGIN CERTIFICATE-----") || text.contains("PUBLIC KEY-----") {
            return .failure(Fault(description: "holds a certificate or public key, and no private key"))
        }
        if text.contains("EC PRIVATE KEY-----") {
            return .failure(Fault(description: "holds an EC key: Salesforce takes RSA keys"))
        }
        return .failure(Fault(description: "holds no private key in PEM form"))
    }

    private static let isEncrypted = Fault(
        description: "is encrypted: store the key without a passphrase (openssl pkey -in KEY -out FILE)")
}
