// What the tests of OAuth share: keys made by openssl, clocks that stand still, and a log that can be read.

import Foundation
import InteractionSandbox
import Logging
import NIOCore
import NIOPosix
import RoutingContract
import Synchronization
import Testing

@testable import InteractionAPI

/// RSA keys in both PEM forms, made once per run in a folder of its own.
struct TestKeys: Sendable {
    static let shared = Result { try TestKeys() }

    let folder: URL
    /// Two keys; each in both forms.
    let pkcs1: [String]
    let pkcs8: [String]
    /// Their public halves as PEM text.
    let publicKeys: [String]
    /// A key with a passphrase, an EC key and a short RSA key.
    let encrypted: String
    let elliptic: String
    let short: String

    private init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "keys-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        func path(_ name: String) -> String { folder.appending(path: name).path() }
        func openssl(_ arguments: String...) throws {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = ["openssl"] + arguments
            process.standardError = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw Failed(arguments: arguments) }
        }
        for name in ["a", "b"] {
            try openssl(
                "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path("\(name).pkcs8"))
            try openssl("rsa", "-traditional", "-in", path("\(name).pkcs8"), "-out", path("\(name).pkcs1"))
            try openssl("pkey", "-in", path("\(name).pkcs8"), "-pubout", "-out", path("\(name).public"))
        }
        try openssl("pkey", "-in", path("a.pkcs8"), "-aes256", "-passout", "pass:x", "-out", path("encrypted"))
        try openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path("ec"))
        try openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", path("short"))
        self.folder = folder
        pkcs1 = ["a", "b"].map { path("\($0).pkcs1") }
        pkcs8 = ["a", "b"].map { path("\($0).pkcs8") }
        publicKeys = try ["a", "b"].map { try String(contentsOfFile: path("\($0).public"), encoding: .utf8) }
        encrypted = path("encrypted")
        elliptic = path("ec")
        short = path("short")
    }

    /// A new file with this content.
    func file(_ text: String) throws -> String {
        let path = folder.appending(path: UUID().uuidString).path()
        try write(text, to: path)
        return path
    }

    func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
    }

    struct Failed: Error { var arguments: [String] }
}

/// Clocks that move when a test says so. The wall clock goes along with the other, from the true time.
final class TestClocks: Sendable {
    private let uptime = Mutex(Duration.seconds(1000))
    private let start = Int64(Date().timeIntervalSince1970 * 1000)
    private let skew: Duration

    init(skew: Duration = .zero) { self.skew = skew }

    func advance(_ duration: Duration) { uptime.withLock { $0 += duration } }

    var clocks: OAuthTokens.Clocks {
        OAuthTokens.Clocks(
            wall: { [self] in
                let passed = uptime.withLock { $0 } - .seconds(1000)
                return Timestamp(milliseconds: start) + passed + skew
            },
            uptime: { [self] in uptime.withLock { $0 } })
    }
}

/// Every line that was logged, with its metadata.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    var logger: Logger {
        Logger(label: "test") { [self] _ in
            Handler { [self] line in lines.withLock { $0.append(line) } }
        }
    }

    private struct Handler: LogHandler {
        var logLevel = Logger.Level.trace
        var metadata: Logger.Metadata = [:]
        let write: @Sendable (String) -> Void

        init(write: @escaping @Sendable (String) -> Void) { self.write = write }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { write("\(event.message) \(event.metadata ?? [:])") }
    }
}

let oauthOrg = OrgID("00D000000000001")!
let quiet = Logger(label: "quiet") { _ in SwiftLogNoOpLogHandler() }

/// Runs `body` with tokens of one org, and shuts them down.
func withTokens(
    _ tokenURL: String, keys: [String]? = nil, clocks: TestClocks = TestClocks(), logger: Logger = quiet,
    org: OrgID = oauthOrg, change: (inout OAuthSettings) -> Void = { _ in }, _ body: (OAuthTokens) async throws -> Void
) async throws {
    let credentials = OAuthCredentials(
        tokenURL: tokenURL, clientID: "consumer-key", username: "user@example.test",
        audience: "https://login.salesforce.com", keyFiles: try keys ?? [TestKeys.shared.get().pkcs8[0]])
    var settings = OAuthSettings(orgs: [org: credentials])
    // Far away: a loaded machine is no fault. Tests of a timeout shorten the one they are about.
    settings.connectTimeout = .seconds(60)
    settings.requestTimeout = .seconds(60)
    change(&settings)
    let tokens = try OAuthTokens(
        settings, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: logger, clocks: clocks.clocks,
        generator: SeededGenerator(seed: 1))
    do {
        try await body(tokens)
    } catch {
        await tokens.shutDown()
        throw error
    }
    await tokens.shutDown()
}

/// A sandbox that knows one org with its app, and verifies signatures with `publicKeys`.
func sandboxSettings(_ publicKeys: [String], hasUsername: String? = "user@example.test") -> SandboxSettings {
    var settings = SandboxSettings()
    settings.acceptsAnyToken = false
    settings.acceptsAnyOrg = false
    settings.orgs = [
        SandboxOrg(
            id: oauthOrg.description, consumerKey: "consumer-key", username: hasUsername, publicKeys: publicKeys)
    ]
    return settings
}

extension OAuthTokens {
    func get(_ org: OrgID = oauthOrg, timeout: Duration = .seconds(60)) async -> Result<AccessToken, TokenFailure> {
        await token(for: org, timeout: timeout)
    }
}

extension Result<AccessToken, TokenFailure> {
    var token: AccessToken? { try? get() }
    var complaint: String { if case .failure(let failure) = self { failure.description } else { "" } }
}

extension ScriptedServer {
    /// Answers one token request on a connection of its own and returns it.
    @discardableResult
    func answerToken(_ status: String = "200 OK", _ body: String, headers: String = "") async -> WireRequest? {
        let peer = await accept()
        let request = await peer.readRequest()
        peer.answer(status, body, headers: "Connection: close\r\n" + headers)
        peer.closeOutput()
        return request
    }

    var tokenURL: String { "http://127.0.0.1:\(port)/services/oauth2/token" }
}

/// An answer of the token endpoint that is right for ``oauthOrg``.
func grant(_ token: String = "00D000000000001!opaque", org: String = oauthOrg.description) -> String {
    #"{"access_token":"\#(token)","token_type":"Bearer","id":"https://login.salesforce.com/id/\#(org)AAA/005000000000001AAA"}"#
}
