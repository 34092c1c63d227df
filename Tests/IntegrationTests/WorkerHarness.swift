// What an integration test runs against: queues of its own, a sandbox in this process, a configuration, real workers.

import AMQP
import AMQPMessage
import CommandClient
import Failpoints
import Foundation
import InteractionSandbox
import Logging
import RouteWorker
import RoutingContract
import TestSupport

/// What a test wants otherwise than usual.
struct HarnessOptions: Sendable {
    /// The commands queues: a suffix of the name, and the settings in YAML.
    var queues: [(suffix: String, settings: String)] = [("commands", "{}")]
    /// Into how many partitions the first of them is spread; `nil` for none.
    var partitions: Int?
    /// Further orgs: alias, id, and settings in YAML.
    var orgs: [(alias: String, id: String, settings: String)] = []
    /// Settings over the file, `key=value`.
    var settings: [String] = []
    /// The shared broker when absent; several of a cluster, separated by commas.
    var brokerURL: String?
    var store = Store.sqlite
    /// In place of `store`: it may hold a password, which flags refuse.
    var storeURL: String?
    /// Arguments of the results queue, where they are not those of the topology.
    var resultsArguments: FieldTable?
    var sandbox = SandboxSettings()
    /// Whether the folder `orgs` of the test's own folder may hold further orgs.
    var usesOrgsFolder = false

    /// Where a worker remembers what it did.
    enum Store: String, Sendable, CaseIterable {
        case sqlite
        case postgres
        case redis

        fileprivate func url(in folder: TemporaryFolder) throws -> String {
            switch self {
            case .sqlite: "sqlite:\(folder.path("store.db"))"
            case .postgres: try TestDatabase.postgres.url
            case .redis: try TestDatabase.redis.url
            }
        }
    }
}

/// Sets a test up, runs it, and leaves nothing behind. What fails in `body` shows the end of the workers' logs; see
/// ``Testing/Trait/showsWorkerLog``.
func withHarness<Value: Sendable>(
    _ options: HarnessOptions = HarnessOptions(), _ body: (WorkerHarness) async throws -> Value
) async throws -> Value {
    var logger = Logger(label: "sandbox")
    logger.logLevel = .critical
    return try await Sandbox.withRunning(settings: options.sandbox, logger: logger) { sandbox, url in
        let harness = try WorkerHarness(options, sandbox, url)
        let outcome: Result<Value, any Error>
        do {
            try await harness.declareQueues()
            outcome = .success(try await WorkerHarness.$current.withValue(harness) { try await body(harness) })
        } catch {
            outcome = .failure(WorkerFailure.with(error, log: harness.workerLog))
        }
        await harness.tearDown()
        return try outcome.get()
    }
}

final class WorkerHarness: Sendable {
    /// The harness of the test that runs.
    @TaskLocal static var current: WorkerHarness?

    let sandbox: Sandbox
    let brokerURL: String
    let broker: AMQPConfiguration
    let folder: TemporaryFolder
    let configFile: String
    /// The commands queues.
    let queues: [String]
    let results: String
    let deadLetters: String
    let replays: String
    let audit: String
    let controls: String
    /// The first commands queue, where it is spread over partitions.
    let partitioned: PartitionedQueue?
    private let options: HarnessOptions
    private let children = Collected<ChildProcess>()

    fileprivate init(_ options: HarnessOptions, _ sandbox: Sandbox, _ sandboxURL: String) throws {
        let name = uniqueName("it")
        self.options = options
        self.sandbox = sandbox
        brokerURL = try options.brokerURL ?? TestBroker.url
        broker = try AMQPConfiguration(
            urls: brokerURL.split(separator: ",").map(String.init), connectionName: name,
            backoff: Backoff(minimum: .milliseconds(50), maximum: .seconds(1)))
        queues = options.queues.map { "\(name).\($0.suffix)" }
        results = "\(name).results"
        deadLetters = "\(name).dead-letters"
        replays = "\(name).commands.replay"
        audit = "\(name).audit"
        controls = "\(name).controls"
        partitioned = options.partitions.map { [queues] count in
            PartitionedQueue(name: queues[0], count: count, exchange: "\(name).partitioned")
        }
        folder = try TemporaryFolder()
        let token = try folder.write("a-token\n", to: "token")
        let queueLines = zip(queues, options.queues).map { "  \($0): \($1.settings)" }.joined(separator: "\n")
        var orgsFolder = ""
        if options.usesOrgsFolder {
            try FileManager.default.createDirectory(
                atPath: folder.path("orgs"), withIntermediateDirectories: false)
            orgsFolder = "orgsFolder: \(folder.path("orgs"))"
        }
        configFile = try folder.write(
            """
            \(orgsFolder)
            admin: {address: "127.0.0.1:0"}
            amqp:
              reconnect: {minimum: 50ms, maximum: 1s}
            queues:
            \(queueLines)
            answers:
              queue: \(results)
              deadLetterQueue: \(deadLetters)
            deadLetters:
              auditQueue: \(audit)
            controls:
              queue: \(controls)
            commands:
              replayQueue: \(replays)
              \(partitioned.map { "partitions: \($0.count)\n  partitionExchange: \($0.exchange)" } ?? "")
            store:
              url: "\(try options.storeURL ?? options.store.url(in: folder))"
            defaults:
              baseURL: \(sandboxURL)
              tokenFile: \(token)
              defaultContext: Partner1_Channel1
            orgs:
              acme: {id: 00D000000000001AAA}
              globex: {id: 00D000000000002AAA}
            \(options.orgs.map { "  \($0.alias): {id: \($0.id)\($0.settings.isEmpty ? "" : ", ")\($0.settings)}" }.joined(separator: "\n"))

            """, to: "worker.yaml")
    }

    /// Adds an org that gets its tokens from the sandbox, to the folder of orgs; see ``HarnessOptions/usesOrgsFolder``.
    ///
    /// - Parameters:
    ///   - url: where its calls and token requests go; the sandbox's own by default.
    /// - Returns: its key file.
    @discardableResult
    func addOAuthOrg(_ alias: String, url: String? = nil) async throws -> String {
        let key = folder.path("key.pem")
        try await ChildProcess.run(URL(fileURLWithPath: "/usr/bin/env"), ["openssl", "genrsa", "-out", key, "2048"])
        let base = if let url { url } else { try await sandbox.baseURL }
        _ = try folder.write(
            """
            id: 00D000000000003
            baseURL: \(base)
            oauth: {tokenURL: "\(base)/services/oauth2/token", clientId: app, username: me@00D000000000003, keyFiles: [\(key)]}

            """, to: "orgs/\(alias).yaml")
        return key
    }

    // MARK: Workers

    /// Starts a worker and waits until it consumes all its queues.
    func startWorker(environment: [String: String] = [:]) async throws -> ChildProcess {
        let worker = try tool("run", environment: environment)
        if partitioned != nil { try await worker.line(containing: "sharing the partitions") }
        for queue in queues.dropFirst(partitioned == nil ? 0 : 1) {
            try await worker.line(containing: "consuming queue=\(queue)")
        }
        return worker
    }

    /// Starts `route-worker` with a command and the configuration of this test.
    func tool(_ command: String..., environment: [String: String] = [:]) throws -> ChildProcess {
        try tool(command, environment)
    }

    func tool(_ command: String, _ arguments: [String]) throws -> ChildProcess {
        try tool([command] + arguments)
    }

    private func tool(_ command: [String], _ environment: [String: String] = [:]) throws -> ChildProcess {
        let child = try ChildProcess(
            ChildProcess.product("route-worker"),
            command + ["--config", configFile] + options.settings.flatMap { ["--set", $0] },
            environment: ["AMQP_URL": brokerURL].merging(environment) { $1 }, in: folder.url)
        children.append(child)
        return child
    }

    /// Starts a worker that consumes one of the commands queues alone and kills itself (or, with `:stop`, stops) at a
    /// step of a delivery.
    func startDoomedWorker(
        at point: Failpoint, _ manner: String = "", queue: Int, environment: [String: String] = [:]
    ) throws -> ChildProcess {
        try tool(
            "run",
            environment: [
                Failpoint.variable: point.rawValue + manner, "QUEUES": queues[queue],
            ].merging(environment) { $1 })
    }

    /// The end of what the workers said.
    var workerLog: String {
        children.all.map { child in
            "--- route-worker, pid \(child.processID)\n"
                + child.transcript.split(separator: "\n").suffix(25).joined(separator: "\n")
        }.joined(separator: "\n")
    }

    // MARK: Messages

    /// Publishes commands to a commands queue, or the exchange of its partitions, confirmed, without waiting for answers.
    func send(_ commands: [CommandSpec], to queue: Int = 0) async throws {
        let partitioned = queue == 0 ? partitioned : nil
        let sent = try await CommandSender(broker, exchange: partitioned?.exchange ?? "", queue: queues[queue])
            .send(partitioned == nil ? commands : commands.map(\.routedByConversation), awaitingAnswers: nil)
        if let failed = sent.first(where: { $0.outcome != .confirmed }) {
            throw Missing("the broker's confirm for a command: \(failed.outcome)")
        }
    }

    /// Publishes as a platform must that loses no command: what was not confirmed goes out again, as it was.
    func publishUntilConfirmed(_ messages: [OutgoingMessage]) async throws {
        let publisher = try AMQPPublisher(broker)
        publisher.start()
        var left = messages[...]
        try await until("the confirms of \(left.count) messages") {
            let batch = Array(left.prefix(100))
            // Waits for a connection where there is none.
            let outcomes = await publisher.publish(batch, timeout: .seconds(30))
            let again = zip(batch, outcomes).filter { $0.1 != .confirmed }.map(\.0)
            left = again + left.dropFirst(batch.count)
            return left.isEmpty
        }
        await publisher.close()
    }

    /// Publishes commands one after another and waits for the answer of each.
    func ask(_ commands: CommandSpec...) async throws -> [Answer] {
        var answers: [Answer] = []
        for command in commands {
            let sent = try await CommandSender(broker, queue: queues[0]).send([command], awaitingAnswers: .seconds(60))
            guard let answer = sent[0].answer else { throw Missing("an answer to \(command.requestID ?? "a command")") }
            answers.append(answer)
        }
        return answers
    }

    /// Collects the answers of a queue from now on, that of results by default.
    func collectAnswers(of queue: String? = nil) throws -> AnswerCollector {
        try AnswerCollector(broker, queue: queue ?? results)
    }

    /// Takes all messages that are ready in a queue.
    func take(from queue: String) async throws -> [Message] {
        try await AMQPAdmin.withConnection(broker) { admin in
            var messages: [Message] = []
            while let got = try await admin.get(from: queue) { messages.append(got.message) }
            return messages
        }
    }

    /// Waits for a dead letter.
    func deadLetter() async throws -> Message {
        try await AMQPAdmin.withConnection(broker) { admin in
            try await eventually("a dead letter") { try await admin.get(from: deadLetters)?.message }
        }
    }

    /// How many messages of a queue wait to be delivered.
    func ready(in queue: String) async throws -> Int? {
        try await AMQPAdmin.withConnection(broker) { try await $0.queue(queue)?.messages }
    }

    /// How many messages wait in all parking queues.
    func parked() async throws -> Int {
        try await AMQPAdmin.withConnection(broker) { admin in
            var count = 0
            for queue in parkingQueues { count += try await admin.queue(queue)?.messages ?? 0 }
            return count
        }
    }

    /// Waits until every command has been acknowledged: an answer may leave before the consumer is back, and then its
    /// command comes once more.
    func allAcknowledged(at broker: PrivateBroker) async throws {
        try await until("an empty queue") {
            let list = try await broker.ctl(["list_queues", "--silent", "name", "messages"])
            return queues.allSatisfy { list.split(separator: "\n").contains("\($0)\t0") }
        }
    }

    /// How many messages a queue holds once nobody consumes it: what a consumer had not acknowledged is back then.
    func left(in queue: String) async throws -> Int {
        try await AMQPAdmin.withConnection(broker) { admin in
            try await eventually("the end of the consumers of \(queue)") {
                guard let state = try await admin.queue(queue), state.consumers == 0 else { return nil }
                return state.messages
            }
        }
    }

    // MARK: Topology

    /// What workers take commands from.
    private var consumed: [String] {
        (partitioned.map { $0.partitions + queues.dropFirst() } ?? queues) + [replays]
    }

    var topology: Topology {
        var topology = Topology(
            commandsQueues: consumed, resultsQueue: results, deadLetterQueue: deadLetters, auditQueue: audit,
            controlsQueue: controls, partitioned: partitioned)
        if let arguments = options.resultsArguments,
            let index = topology.queues.firstIndex(where: { $0.name == results })
        {
            topology.queues[index].arguments = arguments
        }
        return topology
    }

    /// The parking queues of all orgs; most never exist.
    var parkingQueues: [String] {
        let orgs = ["00D000000000001", "00D000000000002"] + options.orgs.map { String($0.id.prefix(15)) }
        return consumed.flatMap { queue in
            orgs.compactMap { OrgID($0) }.map { ParkingQueue.name(of: queue, org: $0) }
        }
    }

    func declareQueues() async throws {
        try await AMQPAdmin.withConnection(broker) { try await topology.declare($0) }
    }

    func delete(_ queue: String) async throws {
        _ = try await AMQPAdmin.withConnection(broker) { try await $0.deleteQueue(queue) }
    }

    fileprivate func tearDown() async {
        for child in children.all {
            child.send(SIGKILL)
            _ = await child.exit()
        }
        try? await AMQPAdmin.withConnection(broker) { admin in
            for queue in topology.queues { try await admin.deleteQueue(queue.name) }
            for queue in parkingQueues { try await admin.deleteQueue(queue) }
            if let partitioned { try await admin.deleteExchange(partitioned.exchange) }
        }
    }
}

extension ChildProcess {
    /// SIGTERM, and how it ended.
    func stop() async -> Exit {
        send(SIGTERM)
        return await exit()
    }

    /// SIGKILL, and waits for the end.
    func crash() async {
        send(SIGKILL)
        _ = await exit()
    }
}

/// Answers as they come to a queue; the consumer connects again when the broker was away.
///
/// It acknowledges nothing: the queue is the test's own, and after a broker's restart all its answers come once more.
final class AnswerCollector: Sendable {
    private let answers = Collected<Answer>()
    private let consumer: AMQPConsumer

    init(_ broker: AMQPConfiguration, queue: String) throws {
        consumer = try AMQPConsumer(broker, subscriptions: [Subscription(queue: queue, prefetch: .max)]) {
            [answers] event in
            guard case .deliveries(let deliveries) = event else { return }
            for delivery in deliveries { Answer(delivery.message).map(answers.append) }
        }
        consumer.start()
    }

    var all: [Answer] { answers.all }

    /// Waits until there are so many.
    @discardableResult
    func first(_ count: Int) async throws -> [Answer] {
        try await eventually("\(count) answers, there are \(answers.all.count)") {
            let all = answers.all
            return all.count >= count ? all : nil
        }
    }
}

/// Things gathered from other threads.
///
/// Unchecked, since the lock guards all of its state; `Mutex` gives ThreadSanitizer false alarms.
final class Collected<Element: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var elements: [Element] = []

    var all: [Element] { lock.withLock { elements } }
    func append(_ element: Element) { lock.withLock { elements.append(element) } }
}
