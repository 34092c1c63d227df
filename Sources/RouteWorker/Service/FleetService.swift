// What a worker looks at now and then beside its own queues: the other workers, and what they left behind.

public import AMQP
public import Logging
public import ServiceLifecycle

/// Counts the workers that share the rate limits, looks at the worker's queues for its gauges, and for parking queues whose
/// worker is gone.
public struct FleetService: Service {
    private let configuration: AMQPConfiguration
    private let queue: String
    private let watched: [String]
    private let needed: [String]
    private let board: HealthBoard
    private let pipeline: DeliveryPipeline
    private let logger: Logger

    private static let countInterval: Duration = .seconds(5)
    /// The broker logs a line for each queue that does not exist.
    private static let searchInterval: Duration = .seconds(600)
    private static let searchRetry: Duration = .seconds(5)

    /// - Parameters:
    ///   - queue: the commands queue whose consumers are the fleet. They are counted also while no org has a rate limit,
    ///     since a reload may bring one.
    ///   - watched: further queues, whose messages and consumers are shown on `board` with those of `queue`.
    ///   - needed: queues that are published to, which are said in the log while nobody has declared them.
    public init(
        _ configuration: AMQPConfiguration, queue: String, watched: [String], needed: [String], board: HealthBoard,
        pipeline: DeliveryPipeline, logger: Logger
    ) {
        self.configuration = configuration
        self.queue = queue
        self.watched = watched
        self.needed = needed
        self.board = board
        self.pipeline = pipeline
        self.logger = logger
    }

    public func run() async throws {
        try? await cancelWhenGracefulShutdown {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await search() }
                group.addTask { try await count() }
                try await group.waitForAll()
            }
        }
    }

    private func search() async throws {
        // The service that consumes has looked already, or the broker was not there.
        var interval = Self.searchRetry
        while true {
            try await Task.sleep(for: interval)
            interval = await pipeline.lookForLeftOvers() ? Self.searchInterval : Self.searchRetry
        }
    }

    private func count() async throws {
        var known = 1
        var missing: [String: Outage<String>] = [:]
        while true {
            do {
                try await AMQPAdmin.withConnection(configuration) { admin in
                    while true {
                        var queues: [WorkerSample.Queue] = []
                        for name in shown + needed.filter({ !shown.contains($0) }) {
                            do {
                                guard let found = try await admin.queue(name) else {
                                    if needed.contains(name) { tell(name, &missing[name, default: Outage()]) }
                                    continue
                                }
                                missing[name] = nil
                                guard shown.contains(name) else { continue }
                                queues.append(
                                    WorkerSample.Queue(
                                        name: name, messages: found.messages, consumers: found.consumers))
                            } catch AMQPError.channelClosed(404, _) {
                                // One whose node is down hides no other.
                                continue
                            }
                        }
                        board.show(queues)
                        if let workers = queues.first(where: { $0.name == queue })?.consumers, workers > 0,
                            workers != known
                        {
                            known = workers
                            await pipeline.share(among: workers)
                            logger.info("sharing the rate limits", metadata: [LogKey.workers: "\(workers)"])
                        }
                        try await Task.sleep(for: Self.countInterval)
                    }
                }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                board.show([])
                logger.debug("cannot count the workers", metadata: [LogKey.error: "\(error)"])
            }
            try await Task.sleep(for: Self.countInterval)
        }
    }

    /// Queues that are shown.
    private var shown: [String] { [queue] + watched }

    /// Before the first answer or dead letter has nowhere to go.
    private func tell(_ name: String, _ outage: inout Outage<String>) {
        logger.log(
            outage.failed(name, now: .now), .error, "a queue is missing; run `route-worker topology declare`",
            metadata: [LogKey.queue: "\(name)"])
    }
}
