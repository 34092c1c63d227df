// Connects, lets somebody use the connection until it is lost, waits, and connects again.

/// What using a connection led to.
enum Ending {
    /// The client closed it; the thread is done.
    case closed
    case lost(AMQPError)
}

extension Lifecycle {
    /// What an error of a connection means: one that was stopped is shut down, and so fails.
    func ending(_ error: AMQPError) -> Ending { phase == .stopping ? .closed : .lost(error) }
}

/// An attempt to connect, on a thread of its own: resolving a name has no time limit, and the client's own thread must
/// go on to answer those whose time is over.
private final class Attempt: Sendable {
    enum Outcome: ~Copyable {
        case pending
        case connected(Connection)
        case failed(AMQPError)
    }

    let socket = SocketGuard()
    private let outcome = Locked<Outcome>(.pending)

    func start(_ endpoint: AMQPEndpoint, name: String, wake: Wake) {
        let isStarted = IOThread.start(name: "amqp-connect") {
            do throws(AMQPError) {
                self.finish(.connected(try Connection.open(endpoint, name: name, socket: self.socket)))
            } catch {
                self.finish(.failed(error))
            }
            wake.signal()
        }
        if !isStarted { finish(.failed(.library(code: 0, text: "the system has no thread left to connect with"))) }
    }

    private func finish(_ result: consuming Outcome) {
        var result = Optional(result)
        outcome.withLock { if let result = result.take() { $0 = result } }
    }

    /// The outcome once there is one. If nobody takes a connection, it is closed with the attempt.
    func take() -> Outcome {
        outcome.withLock { outcome in
            var taken = Outcome.pending
            swap(&taken, &outcome)
            return taken
        }
    }
}

/// The life of a client's thread.
struct Reconnecting {
    /// While there is no connection, `idle` is called at least this often.
    static let tick: Duration = .milliseconds(200)

    let configuration: AMQPConfiguration
    let lifecycle: Lifecycle

    /// Returns when the client is closed or stopped.
    ///
    /// - Parameters:
    ///   - idle: called while there is no connection.
    ///   - retrying: an attempt failed, or a connection was lost; the next attempt follows after the given time.
    ///   - serve: uses a connection until it ends.
    func run(
        idle: () -> Void, retrying: (AMQPError, Duration) -> Void, serve: (borrowing Connection) -> Ending
    ) {
        var random = SystemRandomNumberGenerator()
        var endpoint = 0
        var count = FailureCount()
        while lifecycle.phase == .running {
            let attempt = Attempt()
            lifecycle.use(attempt.socket)
            attempt.start(
                configuration.endpoints[endpoint % configuration.endpoints.count], name: configuration.connectionName,
                wake: lifecycle.wake)
            let error: AMQPError
            switch outcome(of: attempt, idle: idle) {
            case .pending:
                return
            case .failed(let reason):
                error = reason
            case .connected(let connection):
                count.worked(now: .now)
                switch serve(connection) {
                case .closed: return
                case .lost(let reason): error = reason
                }
            }
            lifecycle.use(nil)
            let failures = count.failed(now: .now, lasting: configuration.backoff.maximum)
            endpoint += 1
            // The other brokers of the list are tried at once.
            let isRoundOver = failures % configuration.endpoints.count == 0
            let round = failures / configuration.endpoints.count
            let delay =
                isRoundOver ? configuration.backoff.delay(afterFailures: round, using: &random) : .zero
            retrying(error, delay)
            pause(delay, idle: idle)
        }
    }

    /// `.pending` when the client was closed first; the attempt then ends by itself.
    private func outcome(of attempt: Attempt, idle: () -> Void) -> Attempt.Outcome {
        while lifecycle.phase == .running {
            switch attempt.take() {
            case .connected(let connection): return .connected(connection)
            case .failed(let error): return .failed(error)
            case .pending: _ = lifecycle.wake.wait(atMost: Self.tick)
            }
            idle()
        }
        attempt.socket.shutDown()
        return .pending
    }

    private func pause(_ delay: Duration, idle: () -> Void) {
        let end = ContinuousClock.now + delay
        while lifecycle.phase == .running {
            idle()
            let left = end - .now
            if left <= .zero { return }
            _ = lifecycle.wake.wait(atMost: min(left, Self.tick))
        }
    }
}
