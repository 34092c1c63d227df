// Which librabbitmq the process has loaded, and whether it may be used.
import CRabbitMQ

/// A version of librabbitmq.
///
/// The library is loaded when the program starts, so a host may have another one than the program was built with.
public struct LibraryVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let major: Int
    public let minor: Int
    public let patch: Int

    /// 0.10.0 mends a frame header of a hostile peer that overflows the heap (CVE-2019-18609); 0.11.0 is what this client
    /// was tried with.
    public static let least = LibraryVersion(major: 0, minor: 11, patch: 0)

    /// The one that is loaded.
    public static var loaded: LibraryVersion { LibraryVersion(number: amqp_version_number()) }

    init(major: Int, minor: Int, patch: Int) {
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    /// - Parameter number: `amqp_version_number()`: major, minor, patch and a release flag, one byte each (amqp.h).
    init(number: UInt32) {
        self.init(major: Int(number >> 24), minor: Int(number >> 16 & 0xFF), patch: Int(number >> 8 & 0xFF))
    }

    public static func < (left: LibraryVersion, right: LibraryVersion) -> Bool {
        (left.major, left.minor, left.patch) < (right.major, right.minor, right.patch)
    }

    public var description: String { "\(major).\(minor).\(patch)" }

    /// - Throws: ``AMQPError/invalidConfiguration(_:)`` for a version that is too old.
    func mustServe() throws(AMQPError) {
        guard self < Self.least else { return }
        throw .invalidConfiguration(
            "librabbitmq \(self) is loaded and \(Self.least) is the oldest that serves: older ones lack known fixes "
                + "(CVE-2019-18609); install a newer librabbitmq4")
    }
}
