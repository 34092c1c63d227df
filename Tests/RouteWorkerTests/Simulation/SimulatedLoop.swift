// The event loop of a simulated worker, which can be suspended with all that runs on it.

import Dispatch
import NIOCore
import NIOEmbedded

/// Runs on the loop of the world, by its clock. Suspended, it is a process that was stopped: nothing of it happens until it
/// is woken, and then everything that has become due meanwhile.
///
/// Confined to the loop of its world, as all of the simulation.
final class SimulatedLoop: EventLoop, @unchecked Sendable {
    private final class Timer {
        let deadline: NIODeadline
        let ring: () -> Void
        var isCancelled = false
        init(_ deadline: NIODeadline, _ ring: @escaping () -> Void) { (self.deadline, self.ring) = (deadline, ring) }
    }

    private let world: EmbeddedEventLoop
    private var suspendedAt: NIODeadline?
    private var hasEnded = false
    private var due: [() -> Void] = []
    /// How far its clock is behind that of the world.
    private var lag = TimeAmount.zero

    init(_ world: EmbeddedEventLoop) { self.world = world }

    var isSuspended: Bool { suspendedAt != nil }

    func suspend() { suspendedAt = world.now }

    /// - Parameter clockStood: its own clock did not go on meanwhile, as that of a machine which was stopped.
    func wake(clockStood: Bool) {
        guard let suspendedAt, !hasEnded else { return }
        if clockStood { lag = lag + (world.now - suspendedAt) }
        self.suspendedAt = nil
        let due = due
        self.due = []
        for job in due { run(job) }
    }

    /// Its process is gone: it is never woken.
    func end() {
        suspend()
        hasEnded = true
    }

    private func run(_ job: @escaping () -> Void) { if isSuspended { due.append(job) } else { job() } }

    private func arm(_ timer: Timer) {
        world.scheduleTask(deadline: timer.deadline + lag) {
            self.run {
                if timer.isCancelled { return }
                // Its clock may have stood.
                if self.now < timer.deadline { self.arm(timer) } else { timer.ring() }
            }
        }
    }

    // MARK: EventLoop

    var now: NIODeadline { world.now - lag }
    var inEventLoop: Bool { true }

    func execute(_ task: @escaping @Sendable () -> Void) { world.execute { self.run(task) } }

    func scheduleTask<T>(deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        let promise = makePromise(of: T.self)
        nonisolated(unsafe) let timer = Timer(deadline) {
            promise.assumeIsolated().completeWith(Result(catching: task))
        }
        arm(timer)
        return Scheduled(promise: promise) { timer.isCancelled = true }
    }

    func scheduleTask<T>(in delay: TimeAmount, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        scheduleTask(deadline: now + delay, task)
    }

    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        preconditionFailure("nobody owns it")
    }
}
