// One call on its way through the pool: what is asked, until when, and who waits for its end.

import NIOCore

/// One call. Lives on the pool's event loop alone and ends exactly once.
final class HTTPCall: NIOScheduledCallbackHandler {
    /// Who must be told when the call ends from outside.
    enum Place {
        case nowhere
        case waiting(OriginPool)
        case onConnection(HTTPConnection)
        case ended
    }

    let request: HTTPRequest
    /// When the whole call must have ended.
    let deadline: NIODeadline
    var place = Place.nowhere
    private let continuation: CheckedContinuation<CallResult, Never>
    private var waitTimer: NIOScheduledCallback?

    init(_ request: HTTPRequest, deadline: NIODeadline, continuation: CheckedContinuation<CallResult, Never>) {
        self.request = request
        self.deadline = deadline
        self.continuation = continuation
    }

    /// Ends the call; only the first end counts.
    func finish(_ result: CallResult) {
        if case .ended = place { return }
        place = .ended
        stopWaiting()
        continuation.resume(returning: result)
    }

    func finishUnsent(_ reason: String, _ message: String) {
        finish(.notSent(CallFailure(reason: reason, message: message)))
    }

    /// The calling task was cancelled.
    func cancel() {
        switch place {
        case .nowhere, .ended:
            break
        case .waiting(let pool):
            pool.remove(self)
            finishUnsent(CallFailure.Reason.cancelled, "the call was cancelled while it waited for a connection")
        case .onConnection(let connection):
            connection.cancel(self)
        }
    }

    func startWaiting(in pool: OriginPool, until waitDeadline: NIODeadline, on eventLoop: any EventLoop) throws {
        place = .waiting(pool)
        waitTimer = try eventLoop.assumeIsolated().scheduleCallback(at: min(deadline, waitDeadline), handler: self)
    }

    func stopWaiting() {
        waitTimer?.cancel()
        waitTimer = nil
    }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        waitTimer = nil
        guard case .waiting(let pool) = place else { return }
        pool.remove(self)
        finishUnsent(
            CallFailure.Reason.noConnectionFree, "no connection to \(pool.origin.authority) became free in time")
    }
}
