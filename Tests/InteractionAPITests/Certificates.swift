// Certificates for tests, made by the openssl command: an authority, and servers good and bad.

import Foundation
import NIOSSL

/// Made once per run, in a folder of its own.
struct Certificates: Sendable {
    enum Server: String { case good, otherHost, expired }

    static let shared = Result { try Certificates() }

    /// Its PEM file.
    let authorityFile: String
    let authority: NIOSSLCertificate
    private let folder: URL

    private init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "certificates-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        func openssl(_ arguments: [String]) throws {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = ["openssl"] + arguments
            process.currentDirectoryURL = folder
            process.standardError = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw Failed(arguments: arguments) }
        }
        try openssl(
            ["req", "-x509"] + newKey + ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", "2"])
        for (server, name, days) in [
            (Server.good, "localhost", "2"), (.otherHost, "elsewhere.test", "2"), (.expired, "localhost", "-1"),
        ] {
            let file = server.rawValue
            try Data("subjectAltName=DNS:\(name)".utf8).write(to: folder.appending(path: "\(file).ext"))
            try openssl(
                ["req"] + newKey + ["-keyout", "\(file).key", "-out", "\(file).csr", "-subj", "/CN=\(name)"])
            try openssl([
                "x509", "-req", "-in", "\(file).csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                "\(file).pem", "-days", days, "-extfile", "\(file).ext",
            ])
        }
        self.folder = folder
        authorityFile = folder.appending(path: "ca.pem").path()
        authority = try NIOSSLCertificate.fromPEMFile(authorityFile)[0]
    }

    func context(_ server: Server) throws -> NIOSSLContext {
        let file = folder.appending(path: server.rawValue).path()
        return try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: NIOSSLCertificate.fromPEMFile(file + ".pem").map { .certificate($0) },
                privateKey: .privateKey(NIOSSLPrivateKey(file: file + ".key", format: .pem))))
    }

    struct Failed: Error { var arguments: [String] }
}
