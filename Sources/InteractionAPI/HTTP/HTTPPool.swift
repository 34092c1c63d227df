// The HTTP/1.1 client behind the port: an actor on the worker's event loop.

import LoopSupport
import NIOCore
import NIOSSL

/// Sends requests to fixed origins over kept-alive connections, one request in flight on each.
///
/// A request goes onto the wire at most once, follows no redirect, and every result says how certain its effect is.
/// The actor's executor is the event loop, so that calling from another actor there costs no hop.
actor HTTPPool {
    private nonisolated let executor: LoopExecutor
    private nonisolated let eventLoop: any EventLoop
    private let connector: HTTPConnector
    private var pools: [Origin: OriginPool] = [:]
    private var isShutDown = false

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Waits for the answer to `request`, until `deadline` at most. `origin` must come from configuration.
    func send(_ request: HTTPRequest, to origin: Origin, deadline: NIODeadline) async -> CallResult {
        guard !Task.isCancelled else {
            return .notSent(CallFailure(CallFailure.Reason.cancelled, "the call was cancelled before it began"))
        }
        guard deadline > .now() else {
            return .notSent(CallFailure(CallFailure.Reason.timeout, "no time was left to begin the call"))
        }
        guard !isShutDown else {
            return .notSent(CallFailure(CallFailure.Reason.clientClosed, "the client is shut down"))
        }
        let cancellation = Cancellation(eventLoop: eventLoop)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let call = HTTPCall(request, deadline: deadline, continuation: continuation)
                cancellation.call.value = call
                pool(for: origin).perform(call)
                // One that came before the call was there to be cancelled.
                if Task.isCancelled { call.cancel() }
            }
        } onCancel: {
            cancellation.cancel()
        }
    }

    /// Opens a connection and closes it again. Bounded by the limits of its phases.
    ///
    /// - Returns: why there is none, or `nil`.
    func connect(to origin: Origin) async -> CallFailure? {
        await withCheckedContinuation { continuation in
            connector.connect(to: origin) { result in
                switch result {
                case .success(let channel):
                    channel.close(promise: nil)
                    continuation.resume(returning: nil)
                case .failure(let failure):
                    continuation.resume(returning: failure.failure)
                }
            }
        }
    }

    /// Ends every call and closes every connection. For after the drain: a call in flight ends with an unknown effect.
    func shutDown() {
        isShutDown = true
        for pool in pools.values { pool.close() }
        pools = [:]
    }

    init(
        eventLoop: any EventLoop, settings: ConnectionSettings, tls: NIOSSLContext, proxy: HTTPProxy? = nil
    ) {
        self.eventLoop = eventLoop
        executor = LoopExecutor.of(eventLoop)
        connector = HTTPConnector(
            eventLoop: eventLoop, settings: settings, tls: tls, proxy: proxy, names: NameLookups(eventLoop: eventLoop))
    }

    private func pool(for origin: Origin) -> OriginPool {
        if let pool = pools[origin] { return pool }
        let pool = OriginPool(origin: origin, connector: connector)
        pools[origin] = pool
        return pool
    }
}

/// Brings a task's cancellation, which comes on any thread, to the call's event loop.
private struct Cancellation: Sendable {
    let call: NIOLoopBoundBox<HTTPCall?>

    init(eventLoop: any EventLoop) {
        call = .makeEmptyBox(eventLoop: eventLoop)
    }

    func cancel() {
        call.eventLoop.execute { call.value?.cancel() }
    }
}
