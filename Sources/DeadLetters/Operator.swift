// Who is at work here, for the trail.

public import Foundation

/// The person behind this process.
public enum Operator {
    /// `user@host`; behind `sudo` both users.
    public static func name(environment: [String: String] = ProcessInfo.processInfo.environment) -> String {
        var user = getpwuid(getuid()).flatMap { String(validatingCString: $0.pointee.pw_name) } ?? "uid-\(getuid())"
        if let behind = environment["SUDO_USER"], !behind.isEmpty, behind != user { user = "\(behind) as \(user)" }
        var buffer = [UInt8](repeating: 0, count: 256)
        let status = buffer.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: CChar.self) { gethostname($0.baseAddress!, $0.count - 1) }
        }
        let host = status == 0 ? String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self) : "unknown"
        let name = "\(user)@\(host)"
        // It becomes the worker of a result.
        return String(
            decoding: name.utf8.prefix(128).map { (0x20..<0x7F).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}
