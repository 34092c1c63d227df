// When the certificates in a file end.

import Foundation
import NIOSSL
public import RoutingContract

/// A PEM file that may hold certificates, beside other things.
public enum CertificateFile {
    /// When the first of its certificates ends; `nil` for a file that cannot be read or holds none.
    public static func firstEnd(in path: String) -> Timestamp? {
        // A FIFO would wait for somebody to write.
        let attributes = try? FileManager.default.attributesOfItem(
            atPath: URL(fileURLWithPath: path).resolvingSymlinksInPath().path)
        guard attributes?[.type] as? FileAttributeType == .typeRegular else { return nil }
        guard let certificates = try? NIOSSLCertificate.fromPEMFile(path) else { return nil }
        return certificates.map { Timestamp(milliseconds: Int64($0.notValidAfter) * 1000) }.min()
    }
}
