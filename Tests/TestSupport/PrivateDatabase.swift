// A PostgreSQL or Redis of a test's own, to be killed, suspended and restarted.

import Foundation

/// A private server, run by `deploy/lib/database`. Use it through ``withPrivateDatabase(_:settings:_:)``, which removes it
/// however the test ends; a server whose tests were killed goes by itself within a few seconds.
public actor PrivateDatabase {
    /// With user and password, the same after a restart.
    public nonisolated let url: String
    public nonisolated let kind: TestDatabase
    private let folder: TemporaryFolder

    fileprivate init(_ kind: TestDatabase, settings: [String], tls: PrivateBroker.TLSFiles?) async throws {
        let folder = try TemporaryFolder()
        var arguments = [kind.rawValue, "--owner", String(ProcessInfo.processInfo.processIdentifier)]
        for setting in settings { arguments += ["--set", setting] }
        if let tls { arguments += ["--tls", tls.certificate, tls.privateKey] }
        try await Self.script("start", folder, arguments)
        let line = try String(contentsOf: folder.url.appendingPathComponent("env"), encoding: .utf8)
        guard let equals = line.firstIndex(of: "=") else {
            throw ChildProcess.Failure(description: "deploy/lib/database wrote no URL")
        }
        url = String(line[line.index(after: equals)...].prefix { $0 != "\n" })
        self.kind = kind
        self.folder = folder
    }

    /// The port of ``url``.
    public nonisolated var port: Int { URLComponents(string: url)?.port ?? 0 }

    /// SIGKILL, as in a crash.
    public func kill() async throws { try await Self.script("kill", folder) }

    /// Stops it if it runs, and starts it again with its data on the same port.
    public func restart() async throws { try await Self.script("restart", folder) }

    /// Ends it in good order; its data stays for ``restart()``.
    public func stop() async throws { try await Self.script("stop", folder) }

    /// SIGSTOP: its connections stay open, and nothing answers.
    public func suspend() async throws { try await Self.script("suspend", folder) }

    /// SIGCONT, after ``suspend()``.
    public func resume() async throws { try await Self.script("resume", folder) }

    fileprivate func remove() async throws { try await Self.script("remove", folder) }

    private static func script(_ command: String, _ folder: TemporaryFolder, _ arguments: [String] = []) async throws {
        let script = try PackageFolder.url.appendingPathComponent("deploy/lib/database")
        try await ChildProcess.run(script, [command, folder.url.path] + arguments)
    }
}

/// Starts a private server, hands it to `body`, and removes it whether `body` returns or throws.
///
/// - Parameters:
///   - settings: lines `NAME=VALUE` of postgresql.conf or redis.conf.
///   - tls: with these the server speaks TLS; Redis then does nothing else.
public func withPrivateDatabase<Value>(
    _ kind: TestDatabase, settings: [String] = [], tls: PrivateBroker.TLSFiles? = nil,
    _ body: (PrivateDatabase) async throws -> Value
) async throws -> Value {
    let database = try await PrivateDatabase(kind, settings: settings, tls: tls)
    do {
        let value = try await body(database)
        try await database.remove()
        return value
    } catch {
        try? await database.remove()
        throw error
    }
}
