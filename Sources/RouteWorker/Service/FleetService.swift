// What a worker looks at now and then beside its own queues: the other workers, and what they left behind.

public import AMQP
public import Logging
public import ServiceLifecycle

/// Counts the workers that share the rate limits, and looks for parking queues whose worker is gone.
public struct FleetService: Service {
    private let configuration: AMQPConfiguration
    private let queue: String?
    private let pipeline: DeliveryPipeline
    private let logger: Logger

    private static let countInterval: Duration = .seconds(5)
    /// The broker logs a line for each queue that does not exist.
    private static let searchInterval: Duration = .seconds(600)
    private static let searchRetry: Duration = .seconds(5)

    /// - Parameter queue: the commands queue whose consumers are the fleet; `nil` where nobody asks for their number.
    public init(_ configuration: AMQPConfiguration, queue: String?, pipeline: DeliveryPipeline, logger: Logger) {
        self.configuration = configuration
        self.queue = queue
        self.pipeline = pipeline
        self.logger = logger
    }

    public func run() async throws {
        try? await cancelWhenGracefulShutdown {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await search() }
                if let queue { group.addTask { try await count(queue) } }
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

    private func count(_ queue: String) async throws {
        while true {
            do {
                try await AMQPAdmin.withConnection(configuration) { admin in
                    while true {
                        if let state = try await admin.queue(queue) { await pipeline.share(among: state.consumers) }
                        try await Task.sleep(for: Self.countInterval)
                    }
                }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                logger.debug("cannot count the workers", metadata: [LogKey.error: "\(error)"])
            }
            try await Task.sleep(for: Self.countInterval)
        }
    }
}
