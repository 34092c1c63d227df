// Looks at the worker once a second, for probes and gauges.

public import AMQP
public import IdempotencyStore
public import InteractionAPI
public import Logging
public import RoutingContract
public import ServiceLifecycle

/// Takes samples until everything that they are about has ended.
public struct HealthService: Service {
    /// What is looked at.
    public struct Sources: Sendable {
        public var pipeline: DeliveryPipeline
        public var consumer: AMQPConsumer
        /// Those of the consumer's queues that tell how the worker is doing: parking queues come and go with their orgs.
        public var queues: Set<String>
        /// By the name of their connection.
        public var publishers: [String: AMQPPublisher]
        public var store: any IdempotencyStore
        public var tokens: TokensByOrg
        /// Certificates whose end should be known in time. Asked for now and then, since files change.
        public var certificates: @Sendable () async -> [CertificateEnd]
        /// Log lines that were lost so far.
        public var droppedLines: @Sendable () -> Int

        public init(
            pipeline: DeliveryPipeline, consumer: AMQPConsumer, queues: Set<String>,
            publishers: [String: AMQPPublisher],
            store: any IdempotencyStore, tokens: TokensByOrg,
            certificates: @escaping @Sendable () async -> [CertificateEnd],
            droppedLines: @escaping @Sendable () -> Int
        ) {
            self.pipeline = pipeline
            self.consumer = consumer
            self.queues = queues
            self.publishers = publishers
            self.store = store
            self.tokens = tokens
            self.certificates = certificates
            self.droppedLines = droppedLines
        }
    }

    private static let interval: Duration = .seconds(1)
    /// Token files are looked at on the event loop, each by a system call or two.
    private static let tokenEvery = 5
    private static let certificateInterval: Duration = .seconds(600)
    /// A store that nobody asked anything for so long is asked by way of trial.
    private static let storeHolds: Duration = .seconds(10)

    private let board: HealthBoard
    private let gauges: GaugeBoard
    private let sources: Sources
    private let logger: Logger

    public init(board: HealthBoard, gauges: GaugeBoard, sources: Sources, logger: Logger) {
        self.board = board
        self.gauges = gauges
        self.sources = sources
        self.logger = logger
    }

    public func run() async throws {
        try? await cancelWhenGracefulShutdown {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await takeSamples() }
                group.addTask { try await tryStore() }
                group.addTask { try await lookAtCertificates() }
                try await group.waitForAll()
            }
        }
    }

    private func takeSamples() async throws {
        var tokens = TokensByOrg.State()
        var problems: [String: String] = [:]
        for number in 0... {
            if number % Self.tokenEvery == 0 {
                tokens = await sources.tokens.state()
                let found = await sources.pipeline.byAlias(tokens.problems).mapValues(\.description)
                for (org, why) in found where problems[org] == nil {
                    logger.warning(
                        "the org has no access token", metadata: [LogKey.org: "\(org)", LogKey.error: "\(why)"])
                }
                problems = found
            }
            let snapshot = await sources.pipeline.snapshot
            var consumer = sources.consumer.status
            consumer.queues.removeAll { !sources.queues.contains($0.queue) }
            let sample = WorkerSample(
                takenAt: .now, pipeline: snapshot, consumer: consumer,
                publishers: sources.publishers.mapValues(\.status), storeFailure: board.storeFailure,
                orgsWithTokens: tokens.orgs, tokenProblems: problems, queues: board.queues,
                partitionProblem: board.partitionProblem)
            board.show(sample)
            gauges.show(sample, droppedLines: sources.droppedLines())
            try await Task.sleep(for: Self.interval)
        }
    }

    private func tryStore() async throws {
        while true {
            let isKnown = board.storeAnsweredAt.map { .now - $0 < Self.storeHolds } ?? false
            // One that failed is tried until it is back, though nobody needs it meanwhile.
            if !isKnown || board.storeFailure != nil {
                do throws(StoreError) {
                    try await sources.store.probe()
                    board.storeAnswered(nil)
                } catch {
                    board.storeAnswered(error)
                }
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    private func lookAtCertificates() async throws {
        while true {
            gauges.show(await sources.certificates())
            try await Task.sleep(for: Self.certificateInterval)
        }
    }
}

/// When a certificate ends.
public struct CertificateEnd: Sendable, Hashable {
    /// What it is for; one of a few words.
    public var use: String
    /// Alias of the org that it belongs to; empty for none.
    public var org: String
    public var at: Timestamp

    public init(use: String, org: String = "", at: Timestamp) {
        self.use = use
        self.org = org
        self.at = at
    }
}
