// Where operators read and change the controls: one at a time, so that every change takes effect.

import AMQP
import FleetControls
import RouteWorker
import WorkerSettings

/// The controls on the broker, for as long as one command of an operator runs.
struct ControlsDesk {
    /// How long the broker may take.
    private static let limit: Duration = .seconds(30)
    /// How long other operators may take together.
    private static let patience: Duration = .seconds(60)

    private let configuration: AMQPConfiguration
    private let queue: String

    /// - Throws: ``CommandFailure`` where the configuration has no controls.
    init(_ settings: Settings) throws {
        guard settings.controls.isEnabled else {
            throw CommandFailure.configuration("controls.enabled is false: no worker obeys controls then")
        }
        configuration = try settings.brokerConfiguration("controls")
        queue = settings.controls.queue
    }

    /// Reads what holds.
    func read() async throws -> ControlState {
        try await told {
            // Connects once, and says why that cannot be done; the stream would try again and again.
            try await AMQPAdmin.withConnection(configuration) { _ in
                try await withStream { _, known in known.state }
            }
        }
    }

    /// Changes what holds.
    ///
    /// - Parameter check: looks at the broker before anything is changed.
    /// - Returns: what holds then, read back, and whether anything changed.
    func change(
        _ change: ControlChange, for org: NamedOrg?, _ note: ControlNote, check: (AMQPAdmin) async throws -> Void
    ) async throws -> (state: ControlState, hasChanged: Bool) {
        try await told {
            // The lock goes with the connection.
            try await AMQPAdmin.withConnection(configuration) { admin in
                try await check(admin)
                try await takeLock(admin)
                return try await withStream { stream, known in
                    guard
                        let next = known.state.changed(
                            by: change, for: org?.id, note, restating: known.endsInGarbage)
                    else { return (known.state, false) }
                    try await stream.publish(next)
                    return (try await stream.state(from: next.version, within: Self.limit), true)
                }
            }
        }
    }

    private func takeLock(_ admin: AMQPAdmin) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while try await !admin.takeLock(queue + ".operator") {
            guard .now < deadline else { throw ControlsError.busy }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func withStream<Value>(
        _ body: (ControlsStream, KnownControls) async throws -> Value
    ) async throws -> Value {
        let stream = try ControlsStream(configuration, queue: queue)
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(stream, try await stream.open(within: Self.limit)))
        } catch {
            result = .failure(error)
        }
        await stream.close()
        return try result.get()
    }

    private func told<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as ControlsError {
            throw CommandFailure(error)
        } catch let error as AMQPError {
            throw CommandFailure.failed("cannot reach the controls: \(error)")
        }
    }
}

extension CommandFailure {
    init(_ error: ControlsError) {
        switch error {
        case .missing, .accessRefused, .noStream, .newerSchema: self = .configuration("\(error)")
        case .unavailable, .busy: self = .failed("\(error)")
        }
    }
}
