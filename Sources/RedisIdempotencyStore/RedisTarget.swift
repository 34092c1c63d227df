// Which Redis: the parts of a `redis://` URL.

import Foundation
public import IdempotencyStore

/// A server, a database in it and who logs in there. Its description leaves user and password out.
public struct RedisTarget: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    public var host: String
    public var port: Int
    public var database: Int
    /// `nil` logs in as the default user.
    public var user: String?
    public var password: String?

    public var description: String { "redis://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["target": description]) }

    /// - Parameter url: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`; port 6379 and database 0 when absent.
    /// - Throws: ``StoreError/unusable(_:)``, whose text holds nothing of the URL.
    public init(url: String) throws(StoreError) {
        guard let parts = URLComponents(string: url), let host = parts.host, !host.isEmpty else {
            throw .unusable("the store's URL is none; write redis://:PASSWORD@HOST:PORT/DATABASE")
        }
        switch parts.scheme?.lowercased() {
        case "redis":
            break
        case "rediss":
            throw .unusable(
                "Debian's hiredis has no TLS, so rediss:// cannot be used; let a TLS proxy such as stunnel stand beside "
                    + "the worker and name it as redis://127.0.0.1:PORT")
        default:
            throw .unusable("the store's URL has another scheme than redis://")
        }
        guard parts.query == nil, parts.fragment == nil else {
            throw .unusable("the store's URL has a query or fragment, which a redis:// URL has not")
        }
        let path = parts.path.drop { $0 == "/" }
        guard path.isEmpty || path.allSatisfy(\.isASCII), let database = path.isEmpty ? 0 : UInt16(path) else {
            throw .unusable("the path of the store's URL is no number of a database; write redis://HOST:PORT/0")
        }
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        port = parts.port ?? 6379
        self.database = Int(database)
        password = parts.password.flatMap { $0.isEmpty ? nil : $0 }
        user = parts.user.flatMap { $0.isEmpty ? nil : $0 }
    }
}
