// Certificates for servers that a test starts, made by the openssl command.

import Foundation

/// Two authorities, `trusted` and `stranger`, and a server's certificate for `localhost`, signed by the first. PEM files in
/// a folder of its own.
public struct TestKeys: Sendable {
    /// Made in a moment, other than RSA's.
    private static let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    private let folder: TemporaryFolder

    public init() async throws {
        folder = try TemporaryFolder()
        for authority in ["trusted", "stranger"] {
            try await openssl(
                [
                    "req", "-x509",
                ] + Self.newKey + [
                    "-days", "2", "-subj", "/CN=\(authority)",
                    "-keyout", path("\(authority).key"), "-out", path("\(authority).pem"),
                ])
        }
        try await sign("server", by: "trusted", name: "localhost")
    }

    /// What the server shows.
    public var server: PrivateBroker.TLSFiles {
        PrivateBroker.TLSFiles(
            certificateAuthority: path("trusted.pem"), certificate: path("server.pem"), privateKey: path("server.key"))
    }

    /// The path of a file: `NAME.pem` or `NAME.key`.
    public func path(_ name: String) -> String { folder.path(name) }

    /// Makes one more key and its certificate, for that host name.
    public func sign(_ file: String, by authority: String, name: String) async throws {
        try await openssl(
            [
                "req"
            ] + Self.newKey + [
                "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:\(name)",
                "-keyout", path("\(file).key"), "-out", path("\(file).csr"),
            ])
        try await openssl([
            "x509", "-req", "-in", path("\(file).csr"), "-CA", path("\(authority).pem"), "-CAkey",
            path("\(authority).key"), "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out",
            path("\(file).pem"),
        ])
    }

    private func openssl(_ arguments: [String]) async throws {
        try await ChildProcess.run(URL(fileURLWithPath: "/usr/bin/openssl"), arguments)
    }
}
