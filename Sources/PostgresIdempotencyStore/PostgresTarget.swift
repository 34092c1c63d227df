// Which PostgreSQL: a connection URI as libpq takes it, and what may be printed of it.

import CLibPQ
public import IdempotencyStore

/// A connection URI (postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING), several hosts, `sslmode`,
/// `sslrootcert` and `options` included. Its description leaves user, password and everything after the path out.
public struct PostgresTarget: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The whole URI, password included: for connecting, never for printing.
    let uri: String
    /// PEM file of the authorities that the server's certificate is checked against, where the URI names none.
    let caFile: String?
    public let description: String

    /// Whoever names an authority wants to know whom they speak with.
    var trust: [(String, String)] { caFile.map { [("sslrootcert", $0), ("sslmode", "verify-full")] } ?? [] }

    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["target": description]) }

    /// - Parameters:
    ///   - caFile: PEM file of the authorities that the server's certificate is checked against: where it is given,
    ///     `sslmode` is `verify-full` unless the URI says otherwise.
    /// - Throws: ``StoreError/unusable(_:)`` where libpq is not installed or does not understand it; the text holds
    ///   nothing of the URI.
    public init(url: String, caFile: String? = nil) throws(StoreError) {
        guard url.hasPrefix("postgres://") || url.hasPrefix("postgresql://") else {
            throw .unusable("the store's URL has another scheme than postgres://")
        }
        if let why = clibpq_load() {
            throw .unusable(
                "PostgreSQL's client library cannot be used: \(String(cString: why)); install it, on Debian as libpq5")
        }
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url, &message) else {
            // libpq's own text can quote a part of the URI.
            PQfreemem(message)
            throw .unusable(
                "libpq does not understand the store's URL; write postgres://USER:PASSWORD@HOST:PORT/DATABASE with "
                    + "percent signs for what is special, and only parameters that libpq knows")
        }
        defer { PQconninfoFree(options) }
        var values: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        uri = url
        self.caFile = caFile
        let host = values["host"] ?? values["hostaddr"] ?? "localhost"
        let port = values["port"].map { ":\($0)" } ?? ""
        description = "postgres://\(host)\(port)/\(values["dbname"] ?? "")"
    }
}
