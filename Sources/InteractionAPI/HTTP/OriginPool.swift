// The connections to one origin: kept ones reused most recent first, new ones opened within the bound, a bounded queue.

import NIOCore

/// Hands connections to calls. Lives on the pool's event loop alone.
///
/// A call goes at once onto the connection used most recently, so that the others can reach their idle timeout.
/// Otherwise it waits, first come first served, for whichever comes first: a connection that becomes idle or one that is
/// being opened. When opening fails and more calls wait than connections are idle or still being opened, the call that
/// waited longest gets the failure.
final class OriginPool {
    let origin: Origin
    private let settings: ConnectionSettings
    private let connector: HTTPConnector
    private var open: [ObjectIdentifier: HTTPConnection] = [:]
    private var idle: [HTTPConnection] = []
    private var opening = 0
    private var waiting = CircularBuffer<HTTPCall>()
    /// Whether those who wait are served in the loop's next turn.
    private var isServing = false
    private var isClosed = false

    init(origin: Origin, connector: HTTPConnector) {
        self.origin = origin
        self.connector = connector
        settings = connector.settings
    }

    func perform(_ call: HTTPCall) {
        guard !isClosed else {
            return call.finishUnsent(CallFailure.Reason.clientClosed, "the client is shut down")
        }
        // Not past those who wait, who are about to be served then.
        if waiting.isEmpty, let connection = idle.popLast() {
            if connection.start(call) { idle.append(connection) }
            return
        }
        guard waiting.count < settings.waitingPerOrigin else {
            return call.finishUnsent(
                CallFailure.Reason.tooManyWaiting, "\(waiting.count) calls wait for a connection to \(origin.authority)"
            )
        }
        do {
            try call.startWaiting(
                in: self, until: .now() + TimeAmount(settings.waitTimeout), on: connector.eventLoop)
        } catch {
            return call.finishUnsent(CallFailure.Reason.clientClosed, "the event loop is shut down")
        }
        waiting.append(call)
        openAsNeeded()
    }

    /// A waiting call ended from outside.
    func remove(_ call: HTTPCall) {
        if let index = waiting.firstIndex(where: { $0 === call }) { waiting.remove(at: index) }
    }

    func becameIdle(_ connection: HTTPConnection) {
        guard open[ObjectIdentifier(connection)] != nil else { return }
        idle.append(connection)
        if waiting.isEmpty || isServing { return }
        isServing = true
        // Not at once: the server may have closed right behind its answer, which is met in the same turn. A request that is
        // sent into such a connection is of unknown effect.
        connector.eventLoop.assumeIsolated().execute { self.serve() }
    }

    private func serve() {
        isServing = false
        while !waiting.isEmpty, let connection = idle.popLast(), let call = waiting.popFirst() {
            call.stopWaiting()
            if connection.start(call) { idle.append(connection) }
        }
    }

    /// A connection closed or is about to.
    func ended(_ connection: HTTPConnection) {
        guard open.removeValue(forKey: ObjectIdentifier(connection)) != nil else { return }
        if let index = idle.lastIndex(where: { $0 === connection }) { idle.remove(at: index) }
        openAsNeeded()
    }

    /// Ends every call and connection. Later calls fail unsent.
    func close() {
        isClosed = true
        let closed = CallFailure(CallFailure.Reason.clientClosed, "the client was shut down")
        while let call = waiting.popFirst() { call.finish(.notSent(closed)) }
        let connections = open.values
        open = [:]
        idle = []
        for connection in connections { connection.fail(closed) }
    }

    private func openAsNeeded() {
        while !isClosed, opening + idle.count < waiting.count, open.count + opening < settings.connectionsPerOrigin {
            opening += 1
            connector.connect(to: origin) { self.opened($0) }
        }
    }

    private func opened(_ result: Result<any Channel, ConnectFailure>) {
        opening -= 1
        switch result {
        case .success(let channel):
            guard !isClosed else { return channel.close(promise: nil) }
            let connection = HTTPConnection(pool: self, settings: settings)
            open[ObjectIdentifier(connection)] = connection
            do {
                try channel.pipeline.syncOperations.addHandler(connection)
                becameIdle(connection)
            } catch {
                channel.close(promise: nil)
                ended(connection)
            }
        case .failure(let failure):
            if waiting.count > opening + idle.count { waiting.popFirst()?.finish(.notSent(failure.failure)) }
            openAsNeeded()
        }
    }
}
