// Ends writes that would block for ever: librabbitmq writes without a time limit.
import Glibc

/// A connection's descriptor, as far as other threads may touch it: to shut it down, which makes the thread that is
/// stuck in a read or write return with an error.
final class SocketGuard: Sendable {
    private struct State {
        var descriptor: Int32 = -1
        var deadline: ContinuousClock.Instant?
        var wasShutDown = false
    }

    private let state = Locked(State())

    /// Also from here on, a shutdown asked for earlier is made good.
    func attach(_ descriptor: Int32) {
        state.withLock {
            $0.descriptor = descriptor
            if $0.wasShutDown { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    /// To be called before the descriptor is closed, since its number may be given out again at once.
    func detach() {
        state.withLock {
            $0.descriptor = -1
            $0.deadline = nil
        }
    }

    /// Runs calls that write, and shuts the connection down when they take longer than this.
    func limiting<Result, Failure>(
        _ limit: Duration, _ calls: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        state.withLock { $0.deadline = .now + limit }
        defer { state.withLock { $0.deadline = nil } }
        return try calls()
    }

    func shutDown() {
        state.withLock {
            $0.wasShutDown = true
            if $0.descriptor >= 0 { _ = shutdown($0.descriptor, Int32(SHUT_RDWR)) }
        }
    }

    fileprivate func shutDownIfOverdue(at now: ContinuousClock.Instant) {
        let isOverdue = state.withLock { $0.deadline.map { $0 < now } ?? false }
        if isOverdue { shutDown() }
    }
}

/// One thread for the whole process that looks at every guarded socket twice a second.
final class Watchdog: Sendable {
    static let shared = Watchdog()

    private struct Watched {
        weak var socket: SocketGuard?
    }

    private struct State {
        var sockets: [Watched] = []
        var isRunning = false
    }

    private let state = Locked(State())

    /// Watches until the guard is released. The thread ends when nothing is left to watch.
    func watch(_ socket: SocketGuard) {
        let mustStart = state.withLock { state in
            state.sockets.append(Watched(socket: socket))
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if mustStart, !IOThread.start(name: "amqp-watchdog", { self.run() }) {
            // The next connection tries again; until then, writes are limited by TCP_USER_TIMEOUT alone.
            state.withLock { $0.isRunning = false }
        }
    }

    private func run() {
        while true {
            usleep(500_000)
            let sockets: [SocketGuard]? = state.withLock { state in
                state.sockets.removeAll { $0.socket == nil }
                if state.sockets.isEmpty {
                    state.isRunning = false
                    return nil
                }
                return state.sockets.compactMap(\.socket)
            }
            guard let sockets else { return }
            let now = ContinuousClock.now
            for socket in sockets { socket.shutDownIfOverdue(at: now) }
        }
    }
}
