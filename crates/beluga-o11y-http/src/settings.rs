//! The settings that every exporter's builder offers.

/// Writes the HTTP settings into the `impl` of an exporter's builder, which keeps an
/// [`HttpSenderBuilder`](crate::HttpSenderBuilder) in the field that is named.
///
/// They are the same for every backend; written once, they stay so. An exporter that keeps gzip off by
/// default says so: `http_settings!(http, gzip: "Default false, because ..")`.
#[macro_export]
macro_rules! http_settings {
    ($field:ident) => {
        $crate::http_settings!($field, gzip: "Default true.");
    };
    ($field:ident, gzip: $gzip_default:literal) => {
        /// A header for every request, such as one that a gateway wants. It is treated as a secret.
        /// Default none.
        pub fn with_header(
            mut self,
            name: impl Into<::std::string::String>,
            value: impl Into<::std::string::String>,
        ) -> Self {
            self.$field = self.$field.with_header(name, value.into());
            self
        }

        /// An authority to trust besides those of the platform, in PEM; a bundle of several is fine, and so
        /// are several calls. Default none.
        pub fn with_root_certificate_pem(mut self, pem: impl Into<::std::vec::Vec<u8>>) -> Self {
            self.$field = self.$field.with_root_certificate_pem(pem);
            self
        }

        /// The certificate (with its chain) and the unencrypted key that this client shows to the server,
        /// one after the other in PEM. Default none.
        pub fn with_client_identity_pem(mut self, pem: impl Into<::std::vec::Vec<u8>>) -> Self {
            self.$field = self.$field.with_client_identity_pem(pem);
            self
        }

        /// The proxy for all requests, with user and password if it wants them; not used for a server on
        /// this machine. Default: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
        pub fn with_proxy(mut self, url: impl Into<::std::string::String>) -> Self {
            self.$field = self.$field.with_proxy(url.into());
            self
        }

        /// How long connecting may take, name resolution and TLS included. Default 5 s, or the total
        /// timeout if that is shorter.
        pub fn with_connect_timeout(mut self, timeout: ::std::time::Duration) -> Self {
            self.$field = self.$field.with_connect_timeout(timeout);
            self
        }

        /// Whether bodies of 1 KiB and more are sent in gzip.
        #[doc = $gzip_default]
        pub fn with_gzip(mut self, gzip: bool) -> Self {
            self.$field = self.$field.with_gzip(gzip);
            self
        }
    };
}
