// What is done now and then, beside the hot path.

public import IdempotencyStore
public import Logging
public import ServiceLifecycle

/// Purges what the store need not remember any longer, in steps small enough to disturb nobody.
public struct HousekeepingService: Service {
    private let store: any IdempotencyStore
    private let interval: Duration
    private let step: Int
    private let logger: Logger

    /// - Parameters:
    ///   - interval: between purges; a purge goes on as long as it finds a full step.
    ///   - step: commands and marks removed in one transaction at most.
    public init(
        store: any IdempotencyStore, interval: Duration = .seconds(60), step: Int = 500, logger: Logger
    ) {
        self.store = store
        self.interval = interval
        self.step = step
        self.logger = logger
    }

    public func run() async throws {
        try? await cancelWhenGracefulShutdown {
            while true {
                try await Task.sleep(for: interval)
                await purge()
            }
        }
    }

    private func purge() async {
        var purged = 0
        do {
            while !Task.isCancelled {
                let count = try await store.purge(limit: step)
                purged += count
                guard count == step else { break }
            }
            if purged > 0 { logger.debug("purged", metadata: [LogKey.count: "\(purged)"]) }
        } catch {
            logger.warning("cannot purge", metadata: [LogKey.error: "\(error)"])
        }
    }
}

/// Closes something when everything that needs it has ended: services end in reverse of their order.
public struct ClosingService: Service {
    private let close: @Sendable () async -> Void

    public init(_ close: @escaping @Sendable () async -> Void) {
        self.close = close
    }

    public func run() async throws {
        try? await gracefulShutdown()
        await close()
    }
}
