// How a client's thread is told to end, and how others wait for that.

/// Shared by a client and its thread.
final class Lifecycle: Sendable {
    enum Phase: Equatable {
        case running
        /// Finish what is in hand, say good-bye to the broker, but be gone by this time.
        case closing(by: ContinuousClock.Instant)
        /// Drop everything.
        case stopping
        /// The thread is gone, or was never started.
        case ended
    }

    private struct State {
        var phase = Phase.running
        var isStarted = false
        var socket: SocketGuard?
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    let wake: Wake
    private let state = Locked(State())

    init() throws(AMQPError) {
        wake = try Wake()
    }

    var phase: Phase { state.withLock { $0.phase } }

    /// - Returns: whether the thread is to be started: it runs once, and not after a close.
    func start() -> Bool {
        state.withLock { state in
            if state.isStarted || state.phase != .running { return false }
            state.isStarted = true
            return true
        }
    }

    /// Names the socket that a stop has to shut down.
    func use(_ socket: SocketGuard?) {
        let mustShutDown = state.withLock { state in
            state.socket = socket
            return state.phase == .stopping
        }
        if mustShutDown { socket?.shutDown() }
    }

    /// Asks the thread to finish, and waits for it; after `limit` it is stopped by force and not waited for.
    func close(within limit: Duration) async {
        state.withLock { state in
            guard state.phase == .running else { return }
            state.phase = state.isStarted ? .closing(by: .now + limit) : .ended
        }
        wake.signal()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.untilEnded() }
            group.addTask {
                // A cancelled sleep means that the thread has ended, or that the caller will not wait any longer.
                try? await Task.sleep(for: limit)
                self.stop()
                self.releaseWaiters()
            }
            await group.next()
            group.cancelAll()
        }
    }

    /// Ends the thread without good-byes. Does not wait.
    func stop() {
        let socket = state.withLock { state -> SocketGuard? in
            if state.phase == .ended { return nil }
            state.phase = state.isStarted ? .stopping : .ended
            return state.socket
        }
        socket?.shutDown()
        wake.signal()
    }

    /// Called by the thread as its last act.
    func end() {
        state.withLock { $0.phase = .ended }
        releaseWaiters()
    }

    private func releaseWaiters() {
        let waiters = state.withLock { state in
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    private func untilEnded() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if state.phase == .ended { return true }
                state.waiters.append(continuation)
                return false
            }
            if hasEnded { continuation.resume() }
        }
    }
}
