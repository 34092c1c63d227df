// Which Redis: the parts of a `redis://` or `rediss://` URL.

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
    /// Whether certificate and host name are checked and everything is encrypted.
    public var usesTLS: Bool
    /// PEM file of the authorities trusted over TLS; `nil` for the system's.
    public var caFile: String?

    public var description: String {
        "redis\(usesTLS ? "s" : "")://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
    }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["target": description]) }

    /// - Parameters:
    ///   - url: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`; port 6379 and database 0 when absent. `rediss://` is
    ///     the same over TLS.
    ///   - caFile: PEM file of the authorities trusted over TLS; `nil` for the system's.
    /// - Throws: ``StoreError/unusable(_:)``, whose text holds nothing of the URL.
    public init(url: String, caFile: String? = nil) throws(StoreError) {
        guard let parts = URLComponents(string: url), let host = parts.host, !host.isEmpty else {
            throw .unusable("the store's URL is none; write redis://:PASSWORD@HOST:PORT/DATABASE")
        }
        switch parts.scheme?.lowercased() {
        case "redis": usesTLS = false
        case "rediss": usesTLS = true
        default: throw .unusable("the store's URL has another scheme than redis:// or rediss://")
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
        self.caFile = caFile
        password = parts.password.flatMap { $0.isEmpty ? nil : $0 }
        user = parts.user.flatMap { $0.isEmpty ? nil : $0 }
    }
}
