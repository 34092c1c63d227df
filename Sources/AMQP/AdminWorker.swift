// The thread behind AMQPAdmin: one connection, one channel, one call after another.

/// Runs calls of the blocking library on a thread of its own.
final class AdminWorker: Sendable {
    static let channel: UInt16 = 1

    private struct Job: Sendable {
        /// Makes the call and tells its caller; returns the error when it cost the connection. The flag says whether the
        /// channel is open.
        let run: @Sendable (borrowing Connection, inout Bool) -> AMQPError?
        /// Tells the caller that the call will not be made.
        let fail: @Sendable (AMQPError) -> Void
    }

    private struct State {
        var jobs: [Job] = []
        /// Why no call can be made any more.
        var ending: AMQPError?
    }

    private let lifecycle: Lifecycle
    private let state = Locked(State())

    init() throws(AMQPError) {
        lifecycle = try Lifecycle()
    }

    /// Returns once connected.
    func start(_ configuration: AMQPConfiguration) async throws(AMQPError) {
        _ = lifecycle.start()
        let failure = await withCheckedContinuation { (continuation: CheckedContinuation<AMQPError?, Never>) in
            let isStarted = IOThread.start(name: "amqp-admin") {
                self.connect(configuration, continuation)
                self.lifecycle.end()
            }
            if !isStarted {
                lifecycle.end()
                continuation.resume(returning: .library(code: 0, text: "the system has no thread left"))
            }
        }
        if let failure { throw failure }
    }

    func stop() async {
        await lifecycle.close(within: .seconds(5))
    }

    private func connect(_ configuration: AMQPConfiguration, _ ready: CheckedContinuation<AMQPError?, Never>) {
        var failure = AMQPError.closed
        for endpoint in configuration.endpoints {
            let socket = SocketGuard()
            lifecycle.use(socket)
            do throws(AMQPError) {
                // This thread sleeps between calls and would not send heartbeats.
                let connection = try Connection.open(
                    endpoint, name: configuration.connectionName, heartbeats: false, socket: socket)
                try connection.takeLargerFrames()
                ready.resume(returning: nil)
                end(work(connection))
                return
            } catch {
                failure = error
            }
        }
        ready.resume(returning: failure)
        end(failure)
    }

    /// - Returns: why it ended.
    private func work(_ connection: borrowing Connection) -> AMQPError {
        var isChannelOpen = false
        while true {
            let phase = lifecycle.phase
            let jobs = state.withLock { state in
                defer { state.jobs = [] }
                return state.jobs
            }
            for (index, job) in jobs.enumerated() {
                if let failure = job.run(connection, &isChannelOpen) {
                    for job in jobs[(index + 1)...] { job.fail(failure) }
                    return failure
                }
                connection.releaseBuffers()
            }
            if phase != .running { break }
            if jobs.isEmpty { _ = lifecycle.wake.wait(atMost: .seconds(60)) }
        }
        connection.setRPCTimeout(.seconds(3))
        // The broker notices the closed socket as well.
        try? connection.closeConnection()
        return .closed
    }

    private func end(_ reason: AMQPError) {
        let jobs = state.withLock { state in
            state.ending = reason
            defer { state.jobs = [] }
            return state.jobs
        }
        for job in jobs { job.fail(reason) }
    }

    /// Makes a call on the thread. A call that the broker refuses costs the channel; the next one gets a new one.
    func run<Value: Sendable>(
        _ call: @escaping @Sendable (borrowing Connection, borrowing Arena) throws(Failure) -> Value
    ) async throws(AMQPError) -> Value {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Value, AMQPError>, Never>) in
            let job = Job(
                run: { connection, isChannelOpen in
                    do throws(Failure) {
                        if !isChannelOpen { try connection.openChannel(Self.channel) }
                        isChannelOpen = true
                        let arena = Arena()
                        continuation.resume(returning: .success(try call(connection, arena)))
                        return nil
                    } catch {
                        continuation.resume(returning: .failure(error.error))
                        switch error {
                        case .argument: return nil
                        case .channel:
                            isChannelOpen = false
                            return nil
                        case .connection(let reason): return reason
                        }
                    }
                },
                fail: { continuation.resume(returning: .failure($0)) })
            let ending = state.withLock { state in
                if state.ending == nil { state.jobs.append(job) }
                return state.ending
            }
            if let ending { job.fail(ending) } else { lifecycle.wake.signal() }
        }
        return try result.get()
    }

    /// The same for calls to which it is an answer that something is missing.
    func runUnlessMissing<Value: Sendable>(
        _ call: @escaping @Sendable (borrowing Connection, borrowing Arena) throws(Failure) -> Value
    ) async throws(AMQPError) -> Value? {
        do {
            return try await run(call)
        } catch {
            if error.isMissing { return nil }
            throw error
        }
    }
}
