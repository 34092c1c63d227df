// What a failure of TLS means, in words for whoever has to mend it.

import NIOSSL

/// Why a server is not trusted or cannot be talked to.
public enum TLSTrouble {
    /// - Parameter server: whom a message has to name; `nil` where it stands there already.
    public static func words(for error: any Error, with server: String? = nil) -> String {
        let text = "\(error)"
        let certificate = server.map { "the certificate of \($0)" } ?? "its certificate"
        // By their texts, since the library tells reasons apart in no other way.
        if error is NIOSSLExtraError, text.contains("failedToValidateHostname") {
            return "\(certificate) is for another host"
        }
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return "\(certificate) was not accepted: expired, or signed by no trusted CA"
        }
        let failed = "TLS\(server.map { " with \($0)" } ?? "") failed"
        // The server closed, or answered something else.
        if text.contains("EOF during handshake") || text.contains("WRONG_VERSION_NUMBER") {
            return "\(failed): is TLS spoken on that port?"
        }
        return "\(failed): \(text.prefix(300))"
    }

    /// Whether TLS itself is what failed, and not the connection underneath.
    public static func isCause(of error: any Error) -> Bool {
        switch error {
        case NIOSSLError.uncleanShutdown: false
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError: true
        default: false
        }
    }
}
