// What answers on another port than the broker's.
import Foundation
import TestSupport

/// Takes one connection, and closes it as a web server does that is not spoken to in HTTP.
final class WebServer {
    let port: Int
    private let listener: Int32

    /// - Parameter says: whether it says before what it is.
    init(says: Bool = true) throws {
        (listener, port) = try FreePort.bound()
        guard listen(listener, 1) == 0 else { throw Missing("a port to listen on") }
        Thread.detachNewThread { [listener] in
            let peer = accept(listener, nil, nil)
            var request = [UInt8](repeating: 0, count: 64)
            _ = read(peer, &request, request.count)
            let answer = Array("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".utf8)
            if says { _ = write(peer, answer, answer.count) }
            close(peer)
        }
    }

    deinit { close(listener) }
}
