// What answers on another port than the broker's.
import Glibc
import TestSupport

/// Answers one connection as a web server does that is not spoken to in HTTP, and closes it.
final class WebServer {
    let port: Int
    private let listener: Int32

    init() throws {
        (listener, port) = try FreePort.bound()
        guard listen(listener, 1) == 0 else { throw Missing("a port to listen on") }
        var thread = pthread_t()
        let argument = UnsafeMutableRawPointer(bitPattern: Int(listener))
        pthread_create(
            &thread, nil,
            { argument in
                let peer = accept(Int32(Int(bitPattern: argument)), nil, nil)
                var request = [UInt8](repeating: 0, count: 64)
                _ = read(peer, &request, request.count)
                let answer = Array("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".utf8)
                _ = write(peer, answer, answer.count)
                close(peer)
                return nil
            }, argument)
        pthread_detach(thread)
    }

    deinit { close(listener) }
}
