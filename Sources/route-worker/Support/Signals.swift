// SIGTERM and SIGINT: the first drains, a later one ends at once. SIGHUP reloads.

import Foundation
import Logging
import NIOConcurrencyHelpers
import ServiceLifecycle
import UnixSignals

/// Runs services until they end or a signal asks them to.
///
/// ServiceLifecycle by itself ignores a second signal while it shuts down; an operator who presses Ctrl-C twice means it.
///
/// - Parameter onHangUp: what SIGHUP is for, where it is for something, and where it comes; one after another, and those that
///   come meanwhile make one more.
func runServices(
    _ services: [any Service], logger: Logger,
    onHangUp: (signals: UnixSignalsSequence, act: @Sendable () async -> Void)? = nil
) async throws {
    var configuration = ServiceGroupConfiguration(
        services: services.map { .init(service: $0) }, gracefulShutdownSignals: [], logger: logger)
    configuration.logging = .init()
    let group = ServiceGroup(configuration: configuration)
    let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    let requests = NIOLockedValueBox(StopRequests())
    let (hangUps, hangUp) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { try await group.run() }
        if let onHangUp {
            tasks.addTask {
                for await _ in onHangUp.signals where !requests.withLockedValue({ $0.isAsked }) { hangUp.yield() }
            }
            tasks.addTask { for await _ in hangUps { await onHangUp.act() } }
        }
        tasks.addTask {
            for await signal in signals {
                switch requests.withLockedValue({ $0.received(now: .now) }) {
                case .ignore: break
                case .finish:
                    say("draining; the same signal again ends at once")
                    await group.triggerGracefulShutdown()
                case .end:
                    say("a second signal: ending at once; what was under way will be delivered again")
                    Foundation.exit(ExitStatus.signal(signal == .sigint ? SIGINT : SIGTERM))
                }
            }
        }
        // Neither signals nor reloads end by themselves.
        try await tasks.next()
        tasks.cancelAll()
    }
}

/// Tells whoever waits for it that a service is up, by writing a line into a file.
func writeReadyFile(_ path: String?, _ line: String) throws {
    guard let path else { return }
    do {
        // Atomically: a reader that sees the file sees the whole line.
        try Data((line + "\n").utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
        throw CommandFailure.failed("cannot write the ready file \(path): \(fileTrouble(error))")
    }
}
