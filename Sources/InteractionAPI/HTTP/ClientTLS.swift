// TLS towards Salesforce, for calls and for tokens: always verified in full.

import NIOSSL

enum ClientTLS {
    /// - Parameter extraCAFile: a PEM file of certificates that are trusted beside the system's own.
    static func configuration(extraCAFile: String?) throws(InteractionSettingsError) -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .fullVerification
        configuration.trustRoots = .default
        configuration.applicationProtocols = ["http/1.1"]
        // A good-bye that is not answered holds the descriptor no longer than this.
        configuration.shutdownTimeout = .seconds(1)
        guard let extraCAFile else { return configuration }
        let certificates: [NIOSSLCertificate]
        do {
            certificates = try NIOSSLCertificate.fromPEMFile(extraCAFile)
        } catch {
            throw InteractionSettingsError("the CA file \(extraCAFile) cannot be used: \(error)")
        }
        guard !certificates.isEmpty else {
            throw InteractionSettingsError("the CA file \(extraCAFile) holds no certificate")
        }
        configuration.additionalTrustRoots = [.certificates(certificates)]
        return configuration
    }

    static func context(extraCAFile: String?) throws(InteractionSettingsError) -> NIOSSLContext {
        let configuration = try configuration(extraCAFile: extraCAFile)
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw InteractionSettingsError("TLS cannot be set up: \(error)")
        }
    }
}
