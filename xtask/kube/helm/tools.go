//go:build tools

// Package helmtool pins Helm for the tests of the chart; build-helm.sh builds it.
package helmtool

import _ "helm.sh/helm/v3/cmd/helm"
