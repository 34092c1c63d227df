// Folders and ports of a test's own.

public import Foundation

/// A folder that is removed, with what is in it, when the last reference goes. A suite keeps it as a stored property.
public final class TemporaryFolder: Sendable {
    public let url: URL

    public init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent(uniqueName("route-worker-test"))
        // Brokers and stores keep secrets in it.
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    }

    deinit {
        try? FileManager.default.removeItem(at: url)
    }

    /// The path of a file in it.
    public func path(_ name: String) -> String { url.appendingPathComponent(name).path }

    /// Writes a text file into it and returns its path.
    public func write(_ text: String, to name: String) throws -> String {
        try text.write(toFile: path(name), atomically: false, encoding: .utf8)
        return path(name)
    }
}

/// A TCP port of 127.0.0.1 on which nothing listens.
public enum FreePort {
    /// Asks the kernel for one. Nothing keeps it free afterwards: let a server choose its own port where it can.
    public static func find() throws -> Int {
        let (socket, port) = try bound()
        close(socket)
        return port
    }

    /// A socket that has it, to be listened on and closed.
    public static func bound() throws -> (socket: Int32, port: Int) {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 ? getsockname(socket, $0, &size) : -1
            }
        }
        guard socket >= 0, result == 0 else {
            defer { close(socket) }
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EADDRNOTAVAIL)
        }
        return (socket, Int(UInt16(bigEndian: address.sin_port)))
    }
}

/// The folder of this package.
public enum PackageFolder {
    public static var url: URL {
        get throws {
            let folder = URL(fileURLWithPath: #filePath)
                .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            guard FileManager.default.fileExists(atPath: folder.appendingPathComponent("Package.swift").path) else {
                throw ChildProcess.Failure(description: "the tests were built in \(folder.path), which is gone")
            }
            return folder
        }
    }
}
