// Says what becomes of a connection to the broker, without a line for every attempt.

public import AMQP
public import Logging
import Synchronization
import WorkerLog

/// One connection's part of the log; callable from any thread.
public final class ConnectionLog: Sendable {
    private let name: String
    private let logger: Logger
    private let outage = Mutex(Outage<AMQPError>())

    /// - Parameter name: the connection's among those of a worker.
    public init(_ name: String, logger: Logger) {
        self.name = name
        self.logger = logger
    }

    /// Takes what concerns the connection itself.
    public func saw(_ event: ConsumerEvent) {
        switch event {
        case .connectionLost(let error): lost(error)
        case .retrying(let error, let delay): failed(error, retryingAfter: delay)
        case .deliveries, .subscribed, .subscriptionLost, .lockHeld, .lockRefused, .lockLost, .rejectedUnread: break
        }
    }

    /// A connection that stood is lost.
    public func lost(_ error: AMQPError) {
        outage.withLock { $0.began(error, now: .now) }
        say(.warning, "lost the connection to the broker; will connect again", error)
    }

    /// There is no connection; the next attempt follows after the given time.
    ///
    /// - Parameter consequence: what it means while it lasts.
    public func failed(
        _ error: AMQPError, retryingAfter delay: Duration,
        _ consequence: Logger.Message = "no connection to the broker; will try again"
    ) {
        let retry: Logger.Metadata = [LogKey.retryMilliseconds: "\(delay.wholeMilliseconds)"]
        switch outage.withLock({ $0.failed(error, now: .now) }) {
        case .news: say(.warning, consequence, error, retry)
        case .repetition: say(.debug, consequence, error, retry)
        case .reminder(let away):
            say(
                .warning, "still no connection to the broker", error, [LogKey.awaySeconds: "\(away.components.seconds)"]
            )
        }
    }

    private func say(
        _ level: Logger.Level, _ message: Logger.Message, _ error: AMQPError, _ more: Logger.Metadata = [:]
    ) {
        logger.log(
            level: level, message,
            metadata: [LogKey.connection: "\(name)", LogKey.error: "\(error)"].merging(more) { $1 })
    }
}
