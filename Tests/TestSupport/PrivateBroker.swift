// A RabbitMQ of a test's own, to be killed, suspended, restarted and starved.

import Foundation

/// A private RabbitMQ, run by `deploy/lib/rabbitmq`. Use it through ``withPrivateBroker(tls:plugins:settings:_:)``, which
/// stops it however the test ends; a broker whose tests were killed stops by itself within a few seconds.
///
/// Starting takes 3 to 8 s and 150 MB: tests that only publish and consume share ``TestBroker/url`` instead.
public actor PrivateBroker {
    /// Files for a TLS listener, in PEM.
    public struct TLSFiles: Sendable {
        public var certificateAuthority: String
        public var certificate: String
        public var privateKey: String

        public init(certificateAuthority: String, certificate: String, privateKey: String) {
            self.certificateAuthority = certificateAuthority
            self.certificate = certificate
            self.privateKey = privateKey
        }
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`, the same after a restart.
    public nonisolated let url: String
    /// `amqps://guest:guest@localhost:PORT`, where TLS files were given.
    public nonisolated let tlsURL: String?
    /// `http://127.0.0.1:PORT`, with the plugin `rabbitmq_management`.
    public nonisolated let managementURL: String?
    /// What stands for `rabbitmqctl` of this broker on a command line.
    public nonisolated let control: [String]
    /// The port of ``url``.
    public nonisolated let port: Int
    /// Where its data and logs are.
    private nonisolated let folder: TemporaryFolder

    /// Starts one and waits until it accepts logins.
    ///
    /// - Parameters:
    ///   - plugins: such as `rabbitmq_consistent_hash_exchange`.
    ///   - settings: further lines of `rabbitmq.conf`, `key = value`.
    ///   - first: the broker whose cluster it joins.
    fileprivate init(
        tls: TLSFiles? = nil, plugins: [String] = [], settings: [String] = [], joining first: PrivateBroker? = nil
    ) async throws {
        let folder = try TemporaryFolder()
        var arguments = ["--owner", String(ProcessInfo.processInfo.processIdentifier)]
        if let tls { arguments += ["--tls", tls.certificateAuthority, tls.certificate, tls.privateKey] }
        if !plugins.isEmpty { arguments += ["--plugins", plugins.joined(separator: ",")] }
        for setting in settings { arguments += ["--set", setting] }
        if let first { arguments += ["--join", first.folder.url.path] }
        try await Self.script("start", folder, arguments)

        var values: [Substring: String] = [:]
        for line in try String(contentsOf: folder.url.appendingPathComponent("env"), encoding: .utf8).split(
            separator: "\n")
        {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = String(parts[1]) }
        }
        guard let url = values["AMQP_URL"], let port = values["BROKER_PORT"].flatMap(Int.init) else {
            throw ChildProcess.Failure(description: "deploy/lib/rabbitmq wrote no AMQP_URL or BROKER_PORT")
        }
        self.url = url
        self.port = port
        self.tlsURL = values["AMQPS_URL"]
        managementURL = values["MANAGEMENT_URL"]
        control = [try Self.program.path, "ctl", folder.url.path]
        self.folder = folder
    }

    /// Waits until queues that were just declared are old enough for ``kill()``; no event tells.
    public nonisolated func letQueuesSettle() async throws { try await Task.sleep(for: .seconds(1.5)) }

    /// SIGKILL, as in a crash. A quorum queue or stream declared less than a second before may come back without a leader,
    /// or without its messages; see ``letQueuesSettle()``.
    public func kill() async throws { try await script("kill") }

    /// Stops it if it runs, and starts it again with its data on the same ports.
    public func restart() async throws {
        try await script("restart", "--owner", String(ProcessInfo.processInfo.processIdentifier))
    }

    /// SIGTERM, and waits for the end; its data stays for ``restart()``.
    public func stop() async throws { try await script("stop") }

    /// Ends it for good: it need not write down what nobody will read.
    public func discard() async throws {
        try await kill()
        // What belongs to it besides.
        try await stop()
    }

    /// SIGSTOP: its connections stay open, and nothing answers.
    public func suspend() async throws { try await script("suspend") }

    /// SIGCONT, after ``suspend()``.
    public func resume() async throws { try await script("resume") }

    /// Runs `rabbitmqctl` against it and returns what it printed: `["set_vm_memory_high_watermark", "0.00001"]` raises a
    /// memory alarm. Takes a second or two.
    @discardableResult
    public func ctl(_ arguments: [String]) async throws -> String {
        try await Self.script("ctl", folder, arguments)
    }

    /// Stops the only replica of a quorum queue, which has no leader from then on.
    public func stopLeader(of queue: String) async throws {
        try await ctl([
            "eval",
            """
            {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"\(queue)">>)),
            ok = ra:stop_server(quorum_queues, amqqueue:get_pid(Q)).
            """,
        ])
    }

    private func script(_ command: String, _ arguments: String...) async throws {
        try await Self.script(command, folder, arguments)
    }

    @discardableResult
    private static func script(
        _ command: String, _ folder: TemporaryFolder, _ arguments: [String] = []
    ) async throws -> String {
        try await ChildProcess.run(program, [command, folder.url.path] + arguments)
    }

    private static var program: URL {
        get throws { try PackageFolder.url.appendingPathComponent("deploy/lib/rabbitmq") }
    }
}

/// Starts a private broker, hands it to `body`, and stops it whether `body` returns or throws.
///
/// - Parameters:
///   - tls: adds a TLS listener.
///   - plugins: such as `rabbitmq_consistent_hash_exchange`.
///   - settings: further lines of `rabbitmq.conf`, `key = value`.
public func withPrivateBroker<Value>(
    tls: PrivateBroker.TLSFiles? = nil, plugins: [String] = [], settings: [String] = [],
    _ body: (PrivateBroker) async throws -> Value
) async throws -> Value {
    let broker = try await PrivateBroker(tls: tls, plugins: plugins, settings: settings)
    do {
        let value = try await body(broker)
        try await broker.discard()
        return value
    } catch {
        try? await broker.discard()
        throw error
    }
}

/// Starts a cluster of brokers, hands its nodes to `body`, and stops them whether `body` returns or throws.
///
/// Starting takes as long as that of so many brokers, one after another.
public func withPrivateCluster<Value>(
    of count: Int, _ body: ([PrivateBroker]) async throws -> Value
) async throws -> Value {
    var nodes: [PrivateBroker] = []
    // The first is stopped last: its epmd is that of all.
    func discard() async throws {
        for node in nodes.reversed() { try await node.discard() }
    }
    do {
        while nodes.count < count { nodes.append(try await PrivateBroker(joining: nodes.first)) }
        let value = try await body(nodes)
        try await discard()
        return value
    } catch {
        try? await discard()
        throw error
    }
}
